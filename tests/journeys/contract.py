"""The words in which the rows of the REST contract are written: what is sent, what is answered, what arrives."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.inbox.receiver import Action, Stage
from tests.journeys.reading import Mail

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"
SENDER = "me@sender.example"
ANN = "ann@x.example"
BODY = {"to": ANN, "subject": "Hello", "body_text": "It works."}

AS_SENT = Mail(
    sender=SENDER,
    to=ANN,
    cc=None,
    reply_to=None,
    subject="Hello",
    message_id="",
    date="",
    text="It works.\r\n",
    html=None,
    files=(),
)


@dataclass(frozen=True)
class Request:
    """`{service}` and `{SERVICE}` in the path, that and names of API keys in the headers, and `{admin}` in the query
    are filled in."""

    body: bytes = b""
    content_type: str | None = JSON
    headers: Mapping[str, str] = field(default_factory=lambda: {"X-DreamFactory-API-Key": "{admin}"})
    query: str = ""
    path: str = "/api/v2/{service}"
    method: str = "POST"


@dataclass(frozen=True)
class Answer:
    """`count`: the body is exactly that; else it is the error envelope. `context` and `headers` hold at least these."""

    status: int = 200
    count: int | None = None
    code: int | None = None
    says: str = ""
    context: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Arrival:
    """One mail, as it must be when it is read back; `mail` without Message-ID and Date, None where no two parsers
    agree. `raw`: what must stand in it. `parameters`: those of MAIL that must be there."""

    recipients: Sequence[str] = (ANN,)
    mail: Mail | None = AS_SENT
    reverse_path: str = SENDER
    raw: Sequence[bytes] = ()
    parameters: Sequence[str] = ()
    tls: bool = False
    username: str | None = None


@dataclass(frozen=True)
class Row:
    """Requests, each with its answer, through a service of the row's own to an SMTP server of the row's own.

    `smtp`: arguments of the receiver, `tls` being the name of a certificate; `script`: how it misbehaves. `service`:
    more of the service. `states`: by address, once all is settled; by default what answers and arrivals imply.
    """

    exchanges: Sequence[tuple[Request, Answer]]
    arrives: Sequence[Arrival] = ()
    smtp: Mapping[str, Any] = field(default_factory=dict)
    script: Sequence[tuple[Stage, Action | str, Mapping[str, Any]]] = ()
    service: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, str] | None = None
    installation: str = "plain"


def mail(**fields: Any) -> Request:
    """The usual mail with these fields of JSON; None leaves one out."""
    given = {name: value for name, value in (BODY | fields).items() if value is not None}
    return Request(json.dumps(given).encode())


def sent(count: int = 1, status: int = 200, word: str = "sent", **headers: str) -> Answer:
    """The answer `{"count": n}`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, count=count, headers={"X-Message-Status": word, **given})


def queued(count: int = 1) -> Answer:
    """Durably taken; the verdict is still to come."""
    return sent(count, word="queued")


def refused(status: int, says: str, code: int | None = None, **context: Any) -> Answer:
    """The envelope."""
    return Answer(status, code=code or status, says=says, context=context)


def failed(says: str, code: int = 500, **context: Any) -> Answer:
    """Accepted, tried, and over: nothing will be sent later."""
    return refused(500, says, code, retryable=False, **context)


def arrival(*recipients: str, **fields: Any) -> Arrival:
    """The usual mail, of which these fields are otherwise."""
    return Arrival(recipients or (ANN,), replace(AS_SENT, **fields))


def taken(request: Request, *recipients: str, **fields: Any) -> Row:
    """One request: the mail is sent, and arrives so."""
    return Row([(request, sent(len(recipients) or 1))], [arrival(*recipients, **fields)])


def not_taken(request: Request, status: int, says: str, **context: Any) -> Row:
    """One request: it is refused, and nothing is stored or sent."""
    return Row([(request, refused(status, says, **context))])


def multipart(fields: Mapping[str, str], *files: tuple[str, str, str | None, bytes]) -> bytes:
    """A form with files: of each the field's name, the file's name, its type and its octets."""
    parts = [(f'name="{name}"', value.encode(errors="surrogatepass")) for name, value in fields.items()]
    for name, file_name, content_type, octets in files:
        said = f"\r\nContent-Type: {content_type}" if content_type else ""
        parts.append((f'name="{name}"; filename="{file_name}"{said}', octets))
    head = b"--XX\r\nContent-Disposition: form-data; "
    return (
        b"".join(
            head + header.encode(errors="surrogatepass") + b"\r\n\r\n" + octets + b"\r\n" for header, octets in parts
        )
        + b"--XX--\r\n"
    )

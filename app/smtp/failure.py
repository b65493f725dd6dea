"""Any exception becomes a Failure with its phase; temporary unless known otherwise."""

import asyncio
import base64
import contextlib
import functools
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from aiosmtplib import SMTPResponseException

from app.errors import HeliographError
from app.mail.reply import Reply
from app.outbound.resolve import AddressRefused, PortRefused
from app.smtp.server import Credentials, Server, TokenCredentials


class Phase(StrEnum):
    """Where in the session it happened, in order."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    DOT = "dot"


class Cause(StrEnum):
    """What kind of thing went wrong."""

    HOST_NOT_FOUND = "host_not_found"
    NOT_PERMITTED = "not_permitted"
    CONNECTION_REFUSED = "connection_refused"
    TIMED_OUT = "timed_out"
    CERTIFICATE = "certificate"
    TLS = "tls"
    AUTHENTICATION = "authentication"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"
    PROTOCOL = "protocol"
    WITHHELD = "withheld"
    NOT_SIGNED = "not_signed"
    INTERNAL = "internal"


SERVICE_PHASES = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.TLS, Phase.AUTH})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why no reply per recipient could be had. `message` starts with the sentence of the REST contract
    ("Authentication failed", "Connection refused", "Host not found", "Connection timed out",
    "Certificate error", or "Address not permitted") and holds no secret, no user name and no path."""

    phase: Phase
    cause: Cause
    message: str
    reply: Reply | None = None

    @property
    def of_service(self) -> bool:
        """The server could not be talked to at all: no fault of this mail."""
        return self.phase in SERVICE_PHASES

    @property
    def is_internal(self) -> bool:
        """A bug or a fault of ours: it says nothing about the server."""
        return self.cause in (Cause.INTERNAL, Cause.NOT_SIGNED)

    @property
    def in_doubt(self) -> bool:
        """Lost after the final dot and before its reply: the server may have taken the mail (RFC 1047)."""
        return self.phase is Phase.DOT and self.reply is None


class SmtpFailure(HeliographError):
    """Raised by the connection and the pool; carries the Failure."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


def failure_from(exc: BaseException, phase: Phase, server: Server) -> Failure:
    """The Failure that `exc`, raised in `phase` of a session with `server`, stands for. Never raises.

    What is unknown is a PROTOCOL failure without a reply, and so temporary to whoever judges it.
    """
    if isinstance(exc, SmtpFailure):
        return exc.failure
    reply = next(
        (reply_from(e.code, e.message, server) for e in _chain(exc) if isinstance(e, SMTPResponseException)), None
    )
    if reply is not None and not is_reply_code(reply.code):
        return Failure(phase, Cause.PROTOCOL, f"{_where(server)} answered something that is not SMTP ({phase}).")
    if reply is not None:
        return refused(reply, phase, server)
    cause, found = _cause(exc, phase)
    return Failure(phase, cause, _message(cause, found, phase, server))


def refused(reply: Reply, phase: Phase, server: Server) -> Failure:
    """The Failure of a session that `reply` ended in `phase`."""
    if phase is Phase.AUTH:
        return Failure(phase, Cause.AUTHENTICATION, f"Authentication failed ({_codes(reply)}).", reply)
    if phase is Phase.TLS:
        return Failure(
            phase, Cause.TLS, f"Certificate error: {_where(server)} refused STARTTLS ({_codes(reply)}).", reply
        )
    return Failure(phase, Cause.REFUSED, str(reply), reply)


def not_offered(server: Server) -> Failure:
    """The Failure of a server that does not offer the STARTTLS it is required to."""
    message = f"Certificate error: the server {_where(server)} does not offer STARTTLS, so nothing was sent."
    return Failure(Phase.TLS, Cause.TLS, message)


def reply_from(code: int, text: str, server: Server) -> Reply:
    """A Reply from what came over the wire: valid Unicode without control characters, of bounded length.

    Who may send through a service need not know its user name: it is taken out, as is the password.
    """
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub(" ", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    reply = Reply.parse(code, text)
    shown = _redacted(reply.text, server.credentials)[:_MAX_REPLY_CHARS]
    return reply if shown == reply.text else replace(reply, text=shown)


def is_reply_code(code: int) -> bool:
    """Whether it is a code that a server may answer a command with (RFC 5321 section 4.2.1)."""
    return 200 <= code <= 599


_MAX_REPLY_CHARS = 2048  # a reply line has at most 512 octets; this is four of them
_CONTROL = re.compile(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The exception and what caused it: aiosmtplib wraps some errors and lets others through bare."""
    seen: BaseException | None = exc
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _cause(exc: BaseException, phase: Phase) -> tuple[Cause, BaseException]:
    """The cause, and the exception of the chain that told it; the most telling one wins."""
    for kind, cause in _CAUSES:
        for error in _chain(exc):
            if isinstance(error, kind):
                return _in_phase(cause, phase), error
    return Cause.PROTOCOL, exc


_CAUSES: tuple[tuple[type[BaseException], Cause], ...] = (
    (AddressRefused, Cause.NOT_PERMITTED),
    (PortRefused, Cause.NOT_PERMITTED),
    (ssl.SSLCertVerificationError, Cause.CERTIFICATE),
    (ssl.SSLEOFError, Cause.DISCONNECTED),
    (ssl.SSLError, Cause.TLS),
    (socket.gaierror, Cause.HOST_NOT_FOUND),
    (TimeoutError, Cause.TIMED_OUT),
    (ConnectionRefusedError, Cause.CONNECTION_REFUSED),
    (OSError, Cause.DISCONNECTED),
    (EOFError, Cause.DISCONNECTED),
)


def _in_phase(cause: Cause, phase: Phase) -> Cause:
    """Servers that hang up on a wrong password, or hosts without a route, mean what their phase says."""
    if cause is Cause.DISCONNECTED and phase is Phase.AUTH:
        return Cause.AUTHENTICATION
    if cause is Cause.DISCONNECTED and phase is Phase.CONNECT:
        return Cause.CONNECTION_REFUSED
    return cause


def _message(cause: Cause, exc: BaseException, phase: Phase, server: Server) -> str:
    where = _where(server)
    match cause:
        case Cause.HOST_NOT_FOUND:
            return f"Host not found: {server.host}."
        case Cause.NOT_PERMITTED if isinstance(exc, PortRefused):
            return f"Address not permitted: this server sends nothing to port {server.port} of {server.host}."
        case Cause.NOT_PERMITTED:
            return f"Address not permitted: this server sends nothing to {server.host}."
        case Cause.CONNECTION_REFUSED if isinstance(exc, ConnectionRefusedError):
            return f"Connection refused by {where}. Check host and port."
        case Cause.CONNECTION_REFUSED:
            return f"Connection refused: {where} cannot be reached. Check host, port and network."
        case Cause.TIMED_OUT:
            return f"Connection timed out: {where} ({_timed_out_hint(phase, server)})."
        case Cause.CERTIFICATE:
            return f"Certificate error: {_certificate_problem(exc, server)}"
        case Cause.TLS:
            return f"Certificate error: no TLS with {where}{_tls_hint(exc, server)}."
        case Cause.AUTHENTICATION:
            return f"Authentication failed: {where} closed the connection."
        case Cause.DISCONNECTED if phase in SERVICE_PHASES:
            return f"Connection refused: {where} closed the connection ({phase})."
        case Cause.DISCONNECTED:
            return f"Connection lost: {where} closed the connection ({phase})."
    return f"{where} could not be understood ({phase}: {type(exc).__name__})."


def _where(server: Server) -> str:
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _timed_out_hint(phase: Phase, server: Server) -> str:
    if phase is Phase.GREETING and not server.implicit_tls:
        return "while waiting for greeting: if the server expects implicit TLS, encryption must be SSL"
    return f"while waiting for {phase}" if phase is not Phase.CONNECT else "a firewall may be in the way"


def _tls_hint(exc: BaseException, server: Server) -> str:
    if server.implicit_tls and getattr(exc, "reason", None) in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return ", it does not speak TLS from the first byte: if it offers STARTTLS, encryption must be TLS"
    return ""


def _certificate_problem(exc: BaseException, server: Server) -> str:
    code = getattr(exc, "verify_code", None)
    if code in (62, 64):
        return f"hostname mismatch, the certificate of {_where(server)} is not for {server.host}."
    if code == 10:
        return f"the certificate of {_where(server)} has expired."
    if code in (18, 19, 20, 21):
        return (
            f"the certificate of {_where(server)} is self-signed or from an authority that is not trusted. "
            "A private authority can be trusted with the service's trustedCa, or for all services with "
            "HELIOGRAPH_TRUSTED_CA_FILE."
        )
    return f"the certificate of {_where(server)} is not valid: {getattr(exc, 'verify_message', 'unknown reason')}."


def _codes(reply: Reply) -> str:
    return f"{reply.code} {reply.enhanced_code}" if reply.enhanced_code else str(reply.code)


def _redacted(text: str, credentials: Credentials | TokenCredentials | None) -> str:
    """Servers repeat the user name, or what they were sent for AUTH. Only whole words: a name may be one letter."""
    if not isinstance(credentials, Credentials):  # nothing is sent before the token is known
        return text
    return _forms(credentials).sub("…", text)


@functools.lru_cache(maxsize=64)
def _forms(credentials: Credentials) -> re.Pattern[str]:
    """What a server may repeat of them."""
    username, password = credentials.username, credentials.password
    together = f"user={username}\1auth=Bearer {password}\1\1" if credentials.is_token else f"\0{username}\0{password}"
    sent = [base64.b64encode(part.encode()).decode() for part in (username, password, together)]
    forms = sorted(filter(None, [username, password, *sent]), key=len, reverse=True)
    return re.compile("|".join(map(_whole_word, forms)), re.IGNORECASE)


def _whole_word(form: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", form) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", form) else ""
    return before + re.escape(form) + after


@contextlib.asynccontextmanager
async def phase_within(server: Server, phase: Phase, seconds: float | None) -> AsyncIterator[None]:
    """Give the block `seconds` (None: any time); whatever it raises becomes an SmtpFailure in `phase`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except SmtpFailure:
        raise
    except Exception as error:
        # The text of a refused AUTH may repeat the user name: it must not get into a traceback.
        raise SmtpFailure(failure_from(error, phase, server)) from (None if phase is Phase.AUTH else error)

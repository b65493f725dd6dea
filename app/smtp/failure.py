"""Any exception becomes a Failure with its phase; temporary unless known otherwise."""

from dataclasses import dataclass
from enum import StrEnum

from app.errors import HeliographError
from app.mail.reply import Reply


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
    CONNECTION_REFUSED = "connection_refused"
    TIMED_OUT = "timed_out"
    CERTIFICATE = "certificate"
    TLS = "tls"
    AUTHENTICATION = "authentication"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"
    PROTOCOL = "protocol"


SERVICE_PHASES = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.TLS, Phase.AUTH})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why no reply per recipient could be had. `message` starts with the sentence of the REST contract
    ("Authentication failed", "Connection refused", "Host not found", "Connection timed out",
    "Certificate error") and holds no secret, no user name and no path."""

    phase: Phase
    cause: Cause
    message: str
    reply: Reply | None = None

    @property
    def of_service(self) -> bool:
        """The server could not be talked to at all: no fault of this mail."""
        return self.phase in SERVICE_PHASES

    @property
    def in_doubt(self) -> bool:
        """Lost after the final dot and before its reply: the server may have taken the mail (RFC 1047)."""
        return self.phase is Phase.DOT and self.reply is None


class SmtpFailure(HeliographError):
    """Raised by the connection and the pool; carries the Failure."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)

"""What a diagnosis says: stages, their codes, and what they come to. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class StageName(StrEnum):
    """What is looked at. TLS comes after EHLO with STARTTLS, and before the greeting with implicit TLS."""

    DNS = "DNS"
    TCP = "TCP"
    GREETING = "GREETING"
    EHLO = "EHLO"
    TLS = "TLS"
    CERTIFICATE = "CERTIFICATE"
    EXTENSIONS = "EXTENSIONS"
    MECHANISMS = "MECHANISMS"
    AUTH = "AUTH"
    ENVELOPE = "ENVELOPE"


class StageStatus(StrEnum):
    """WARNING: mail goes all the same. SKIPPED: not looked at."""

    OK = "OK"
    WARNING = "WARNING"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class DiagnosisCode(StrEnum):
    """What was found, for programs. A code is never renamed once released."""

    OK = "OK"
    NOT_REACHED = "NOT_REACHED"
    NOT_ASKED = "NOT_ASKED"
    SANDBOX = "SANDBOX"
    DIAGNOSIS_TIMEOUT = "DIAGNOSIS_TIMEOUT"
    HOST_NOT_FOUND = "HOST_NOT_FOUND"
    DNS_TIMEOUT = "DNS_TIMEOUT"
    ADDRESS_FORBIDDEN = "ADDRESS_FORBIDDEN"
    PORT_FORBIDDEN = "PORT_FORBIDDEN"
    CONNECTION_REFUSED = "CONNECTION_REFUSED"
    CONNECT_TIMEOUT = "CONNECT_TIMEOUT"
    UNREACHABLE = "UNREACHABLE"
    GREETING_REFUSED = "GREETING_REFUSED"
    GREETING_TIMEOUT = "GREETING_TIMEOUT"
    PLAIN_ON_TLS_PORT = "PLAIN_ON_TLS_PORT"
    NOT_SMTP = "NOT_SMTP"
    DISCONNECTED = "DISCONNECTED"
    TIMED_OUT = "TIMED_OUT"
    TRY_LATER = "TRY_LATER"
    EHLO_REFUSED = "EHLO_REFUSED"
    NO_ESMTP = "NO_ESMTP"
    NOT_ENCRYPTED = "NOT_ENCRYPTED"
    STARTTLS_UNUSED = "STARTTLS_UNUSED"
    STARTTLS_NOT_OFFERED = "STARTTLS_NOT_OFFERED"
    STARTTLS_REFUSED = "STARTTLS_REFUSED"
    TLS_ON_PLAIN_PORT = "TLS_ON_PLAIN_PORT"
    TLS_TOO_OLD = "TLS_TOO_OLD"
    TLS_FAILED = "TLS_FAILED"
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
    CERTIFICATE_EXPIRES_SOON = "CERTIFICATE_EXPIRES_SOON"
    CERTIFICATE_NOT_YET_VALID = "CERTIFICATE_NOT_YET_VALID"
    CERTIFICATE_HOSTNAME = "CERTIFICATE_HOSTNAME"
    CERTIFICATE_UNTRUSTED = "CERTIFICATE_UNTRUSTED"
    CERTIFICATE_INVALID = "CERTIFICATE_INVALID"
    NO_CREDENTIALS = "NO_CREDENTIALS"
    PASSWORD_UNREADABLE = "PASSWORD_UNREADABLE"  # noqa: S105 - no password
    CLEAR_TEXT_AUTH = "CLEAR_TEXT_AUTH"
    AUTH_NOT_OFFERED = "AUTH_NOT_OFFERED"
    MECHANISM_NOT_OFFERED = "MECHANISM_NOT_OFFERED"
    AUTH_TOO_SOON = "AUTH_TOO_SOON"
    BAD_CREDENTIALS = "BAD_CREDENTIALS"
    APP_PASSWORD_NEEDED = "APP_PASSWORD_NEEDED"  # noqa: S105 - no password
    SMTP_CREDENTIALS_NEEDED = "SMTP_CREDENTIALS_NEEDED"
    BASIC_AUTH_DISABLED = "BASIC_AUTH_DISABLED"
    SMTP_AUTH_DISABLED = "SMTP_AUTH_DISABLED"
    NO_ACCESS_TOKEN = "NO_ACCESS_TOKEN"  # noqa: S105 - no token
    TOKEN_REFUSED = "TOKEN_REFUSED"  # noqa: S105 - no token
    ENCRYPTION_REQUIRED = "ENCRYPTION_REQUIRED"
    MECHANISM_REFUSED = "MECHANISM_REFUSED"
    AUTH_REFUSED = "AUTH_REFUSED"
    AUTH_REQUIRED = "AUTH_REQUIRED"
    SENDER_REFUSED = "SENDER_REFUSED"
    RECIPIENT_REFUSED = "RECIPIENT_REFUSED"
    RELAY_DENIED = "RELAY_DENIED"
    SMTPUTF8_NOT_OFFERED = "SMTPUTF8_NOT_OFFERED"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage that has ended. `evidence`: what was seen or said, without any credential. `advice`: one sentence that
    says what to change; None where nothing is wrong. `milliseconds`: how long it took."""

    name: StageName
    status: StageStatus
    code: DiagnosisCode = DiagnosisCode.OK
    evidence: str = ""
    advice: str | None = None
    milliseconds: int = 0


def is_ok(stages: Iterable[Stage]) -> bool:
    """Whether mail can leave: no stage failed."""
    return all(stage.status is not StageStatus.FAILED for stage in stages)


def first_advice(stages: Sequence[Stage]) -> str | None:
    """What to change first: the advice of the first stage that failed, else of the first with a warning."""
    for status in (StageStatus.FAILED, StageStatus.WARNING):
        found = next((stage.advice for stage in stages if stage.status is status and stage.advice), None)
        if found is not None:
            return found
    return None

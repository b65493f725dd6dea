"""From a failure, or a reply, to the code of what is wrong. Pure."""

import re
import ssl
from collections.abc import Callable, Iterator

from app.mail.reply import Reply, Severity
from app.smtp.diagnosis.report import DiagnosisCode
from app.smtp.failure import Cause, Failure, Phase
from app.smtp.server import Server

Code = DiagnosisCode


def code_of(failure: Failure, error: BaseException | None, server: Server) -> DiagnosisCode:
    """The code of a failure in any phase; `error`: the exception that it was made from."""
    if failure.reply is not None:
        return code_of_reply(failure.reply, failure.phase, server)
    if failure.cause is Cause.CERTIFICATE:
        return next(map(code_of_certificate, _verify_codes(error)), Code.CERTIFICATE_INVALID)
    if failure.cause is Cause.TLS:
        return _code_of_tls(error, server)
    if failure.cause is Cause.CONNECTION_REFUSED and not isinstance(error, ConnectionRefusedError):
        return Code.UNREACHABLE
    return _BY_PHASE.get((failure.phase, failure.cause)) or _BY_CAUSE.get(failure.cause, Code.NOT_SMTP)


def code_of_reply(reply: Reply, phase: Phase, server: Server) -> DiagnosisCode:
    """The code of a reply that is not positive: what its provider means by it, else what the standards say."""
    if phase is Phase.AUTH:
        return next(code for matches, code in _AUTH if matches(server.host, reply))
    if phase in (Phase.MAIL, Phase.RCPT):
        return _code_of_envelope(reply, phase)
    if phase is Phase.TLS:
        return Code.STARTTLS_REFUSED
    if reply.severity is Severity.TRANSIENT:
        return Code.TRY_LATER
    return Code.GREETING_REFUSED if phase is Phase.GREETING else Code.EHLO_REFUSED


def code_of_certificate(verify_code: int) -> DiagnosisCode:
    """The code of one of OpenSSL's X509_V_ERR_*."""
    return _CERTIFICATE.get(verify_code, Code.CERTIFICATE_INVALID)


_BY_PHASE: dict[tuple[Phase, Cause], Code] = {
    (Phase.CONNECT, Cause.TIMED_OUT): Code.CONNECT_TIMEOUT,
    (Phase.GREETING, Cause.TIMED_OUT): Code.GREETING_TIMEOUT,
}
_BY_CAUSE: dict[Cause, Code] = {
    Cause.HOST_NOT_FOUND: Code.HOST_NOT_FOUND,
    Cause.CONNECTION_REFUSED: Code.CONNECTION_REFUSED,
    Cause.TIMED_OUT: Code.TIMED_OUT,
    Cause.DISCONNECTED: Code.DISCONNECTED,
    Cause.AUTHENTICATION: Code.BAD_CREDENTIALS,  # servers hang up on a wrong password
}
_CERTIFICATE = {
    9: Code.CERTIFICATE_NOT_YET_VALID,
    10: Code.CERTIFICATE_EXPIRED,
    62: Code.CERTIFICATE_HOSTNAME,
    64: Code.CERTIFICATE_HOSTNAME,
    **dict.fromkeys((2, 18, 19, 20, 21), Code.CERTIFICATE_UNTRUSTED),
}
_PLAIN_TEXT = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
_TOO_OLD = {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"}


def _verify_codes(error: BaseException | None) -> Iterator[int]:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            yield error.verify_code
        error = error.__cause__


def _code_of_tls(error: BaseException | None, server: Server) -> DiagnosisCode:
    reason = None
    while error is not None and reason is None:
        reason, error = getattr(error, "reason", None), error.__cause__
    if reason in _PLAIN_TEXT:
        return Code.TLS_ON_PLAIN_PORT if server.implicit_tls else Code.TLS_FAILED
    return Code.TLS_TOO_OLD if reason in _TOO_OLD else Code.TLS_FAILED


def _code_of_envelope(reply: Reply, phase: Phase) -> DiagnosisCode:
    if reply.code == 530 or re.search(r"authenticat(e|ion) (is )?(required|first)", reply.text, re.IGNORECASE):
        wants_tls = re.search(r"starttls|encrypt", reply.text, re.IGNORECASE)
        return Code.ENCRYPTION_REQUIRED if wants_tls else Code.AUTH_REQUIRED
    if reply.severity is Severity.TRANSIENT:
        return Code.TRY_LATER
    if phase is Phase.MAIL:
        return Code.SENDER_REFUSED
    return Code.RELAY_DENIED if re.search(r"\brelay", reply.text, re.IGNORECASE) else Code.RECIPIENT_REFUSED


_Matches = Callable[[str, Reply], bool]


def _at(*domains: str) -> Callable[[str], bool]:
    """Whether a host is one of these, or below one."""
    return lambda host: any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _says(pattern: str, *enhanced: str) -> _Matches:
    """A reply with one of these enhanced codes, if any is named, and this text in it."""
    return lambda _, reply: (
        (not enhanced or reply.enhanced_code in enhanced) and bool(re.search(pattern, reply.text, re.IGNORECASE))
    )


def _is(*codes: int) -> _Matches:
    return lambda _, reply: reply.code in codes


def _by(provider: Callable[[str], bool], matches: _Matches) -> _Matches:
    return lambda host, reply: provider(host) and matches(host, reply)


_WANTS_APP_PASSWORDS = _at(
    "gmail.com", "googlemail.com", "google.com", "yahoo.com", "aol.com", "mail.me.com", "icloud.com", "fastmail.com"
)

_AUTH: tuple[tuple[_Matches, DiagnosisCode], ...] = (
    (_says(r"application-specific password|app(lication)? ?password|InvalidSecondFactor"), Code.APP_PASSWORD_NEEDED),
    (lambda _, reply: (reply.code, reply.enhanced_code) == (534, "5.7.9"), Code.APP_PASSWORD_NEEDED),
    (_says("SmtpClientAuthentication is disabled|smtp_auth_disabled"), Code.SMTP_AUTH_DISABLED),
    (_says("credentials were incorrect", "5.7.139"), Code.BAD_CREDENTIALS),
    (_says("", "5.7.30", "5.7.139"), Code.BASIC_AUTH_DISABLED),
    (_says("basic authentication is (disabled|not supported)"), Code.BASIC_AUTH_DISABLED),
    (_is(454, 421, 432), Code.TRY_LATER),
    (_by(_WANTS_APP_PASSWORDS, _is(535)), Code.APP_PASSWORD_NEEDED),
    (_by(_at("amazonaws.com"), _is(535)), Code.SMTP_CREDENTIALS_NEEDED),
    (lambda _, reply: reply.code == 538 or reply.enhanced_code == "5.7.11", Code.ENCRYPTION_REQUIRED),
    (_says("starttls|encrypt"), Code.ENCRYPTION_REQUIRED),
    (_is(535, 534), Code.BAD_CREDENTIALS),
    (_is(500, 502, 503, 504), Code.MECHANISM_REFUSED),
    (lambda _, reply: reply.severity is Severity.TRANSIENT, Code.TRY_LATER),
    (lambda _, reply: True, Code.AUTH_REFUSED),
)
"""What a refused AUTH means; the first that matches counts. Sources: RFC 4954 section 6, and the manuals of Gmail,
Yahoo, iCloud, Fastmail, Amazon SES and Exchange Online."""

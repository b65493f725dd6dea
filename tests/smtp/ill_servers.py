"""SMTP servers with one fault each, and what a diagnosis has to say of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.inbox.receiver import Drop, Hang, Raw, Stage
from app.smtp.diagnosis.report import DiagnosisCode as Code
from app.smtp.diagnosis.report import StageName, StageStatus
from app.smtp.server import Credentials, Encryption

ME = Credentials("me@x.example", "correct-horse-battery-staple")
KNOWN = {ME.username: ME.password}
NONE, TLS, SSL = Encryption.NONE, Encryption.TLS, Encryption.SSL


@dataclass(frozen=True)
class IllServer:
    """Where the diagnosis ends, with which code, and a word of its advice and of its evidence. `certificate`: which one
    the server has; None: no TLS."""

    stage: StageName
    code: Code
    advice: str
    evidence: str = ""
    script: Mapping[Stage, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    encryption: Encryption = NONE
    certificate: str | None = None
    credentials: Credentials | None = None
    recipient: str | None = None
    status: StageStatus = StageStatus.FAILED
    server: Mapping[str, Any] = field(default_factory=dict)


def _auth(reply: Any, code: Code, advice: str, evidence: str = "", **more: Any) -> IllServer:
    given: dict[str, Any] = {"script": {Stage.AUTH: reply}, "options": {"credentials": KNOWN}, "credentials": ME} | more
    return IllServer(StageName.AUTH, code, advice, evidence, **given)


def _probe(stage: Stage, reply: str, code: Code, advice: str, **more: Any) -> IllServer:
    evidence = f"{stage.name}: {reply}"
    return IllServer(StageName.ENVELOPE, code, advice, evidence, {stage: reply}, recipient="bob@x.example", **more)


def _certified(certificate: str, code: Code, advice: str, evidence: str) -> Mapping[str, IllServer]:
    """With STARTTLS and with implicit TLS."""
    return {
        f"certificate: {certificate}, {encryption}": IllServer(
            StageName.CERTIFICATE, code, advice, evidence, encryption=encryption, certificate=certificate
        )
        for encryption in (TLS, SSL)
    }


_GREETING, _EHLO, _TLS = StageName.GREETING, StageName.EHLO, StageName.TLS

ILL_SERVERS: Mapping[str, IllServer] = {
    "greeting: refused": IllServer(
        _GREETING,
        Code.GREETING_REFUSED,
        "let this machine's address in",
        "554 5.7.1 blocked",
        {Stage.GREETING: "554 5.7.1 blocked"},
    ),
    "greeting: later": IllServer(
        _GREETING, Code.TRY_LATER, "try later", "421 4.3.2 busy", {Stage.GREETING: "421 4.3.2 busy"}
    ),
    "greeting: silence": IllServer(
        _GREETING, Code.GREETING_TIMEOUT, "says nothing", "timed out", {Stage.GREETING: Hang()}
    ),
    "greeting: hang-up": IllServer(_GREETING, Code.DISCONNECTED, "hangs up", "closed", {Stage.GREETING: Drop()}),
    "greeting: of a web server": IllServer(
        _GREETING, Code.NOT_SMTP, "is no mail server", "not SMTP", {Stage.GREETING: Raw(b"HTTP/1.1 400 Bad\r\n\r\n")}
    ),
    "implicit TLS where STARTTLS is meant": IllServer(
        _GREETING,
        Code.PLAIN_ON_TLS_PORT,
        "encryption to SSL",
        "says nothing",
        encryption=TLS,
        certificate="good",
        options={"implicit_tls": True},
    ),
    "EHLO: refused": IllServer(
        _EHLO, Code.EHLO_REFUSED, "HELIOGRAPH_EHLO_NAME", "550 5.7.1 who?", {Stage.EHLO: "550 5.7.1 who?"}
    ),
    "EHLO: silence": IllServer(_EHLO, Code.TIMED_OUT, "stops answering", "timed out", {Stage.EHLO: Hang()}),
    "no STARTTLS": IllServer(_TLS, Code.STARTTLS_NOT_OFFERED, "SSL with port 465", "no STARTTLS", encryption=TLS),
    "STARTTLS: refused": IllServer(
        _TLS,
        Code.STARTTLS_REFUSED,
        "repair its TLS",
        "454 4.7.0 not now",
        {Stage.STARTTLS: "454 4.7.0 not now"},
        encryption=TLS,
        certificate="good",
    ),
    "STARTTLS: hang-up": IllServer(
        _TLS, Code.DISCONNECTED, "hangs up", "closed", {Stage.STARTTLS: Drop()}, encryption=TLS, certificate="good"
    ),
    "plain where implicit TLS is meant": IllServer(
        _TLS, Code.TLS_ON_PLAIN_PORT, "encryption to TLS", "does not speak TLS", encryption=SSL
    ),
    **_certified("expired", Code.CERTIFICATE_EXPIRED, "has to renew it", "ends 2021-01-01"),
    **_certified("hostname mismatch", Code.CERTIFICATE_HOSTNAME, "a name that is in the cert", "for other.example;"),
    **_certified("not trusted", Code.CERTIFICATE_UNTRUSTED, "trustedCa", "self-signed or from an authority"),
    "AUTH: not offered": IllServer(
        StageName.MECHANISMS, Code.AUTH_NOT_OFFERED, "587 or 465", "No AUTH", credentials=ME
    ),
    "AUTH: another mechanism": IllServer(
        StageName.MECHANISMS,
        Code.MECHANISM_NOT_OFFERED,
        "none of the ways",
        "Offered: CRAM-MD5",
        options={"credentials": KNOWN, "mechanisms": ("CRAM-MD5",)},
        credentials=ME,
    ),
    "AUTH: only with encryption": IllServer(
        StageName.MECHANISMS,
        Code.ENCRYPTION_REQUIRED,
        "encryption to TLS",
        "No AUTH",
        {Stage.EHLO: "250 x.example\n250 STARTTLS"},
        credentials=ME,
    ),
    "AUTH: wrong password": _auth(
        "535 5.7.8 wrong", Code.BAD_CREDENTIALS, "user name with this password", "535 5.7.8 wrong"
    ),
    "AUTH: app password": _auth(
        "534 5.7.9 Application-specific password required", Code.APP_PASSWORD_NEEDED, "app password"
    ),
    "AUTH: no passwords at Microsoft": _auth(
        "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.",
        Code.BASIC_AUTH_DISABLED,
        "OAuth 2.0",
    ),
    "AUTH: hang-up": _auth(Drop(), Code.BAD_CREDENTIALS, "set both again", "closed the connection"),
    "AUTH: silence": _auth(Hang(), Code.TIMED_OUT, "stops answering", "timed out"),
    "AUTH: later": _auth("454 4.7.0 later", Code.TRY_LATER, "try later", "454"),
    "MAIL: refused": _probe(
        Stage.MAIL, "553 5.7.1 not your address", Code.SENDER_REFUSED, "an address of the account's"
    ),
    "MAIL: without AUTH": _probe(Stage.MAIL, "530 5.7.0 authenticate", Code.AUTH_REQUIRED, "user name and password"),
    "RCPT: refused": _probe(Stage.RCPT, "550 5.1.1 no such user", Code.RECIPIENT_REFUSED, "whether the address exists"),
    "RCPT: relaying": _probe(Stage.RCPT, "554 5.7.1 Relay access denied", Code.RELAY_DENIED, "to relay"),
    "RCPT: greylisted": _probe(
        Stage.RCPT, "450 4.2.0 greylisted", Code.TRY_LATER, "try later", status=StageStatus.WARNING
    ),
    "RCPT: letters beyond ASCII": IllServer(
        StageName.ENVELOPE,
        Code.SMTPUTF8_NOT_OFFERED,
        "another address",
        "no SMTPUTF8",
        options={"extensions": ("SIZE",)},
        recipient="j\u00fcrgen@x.example",
    ),
    "STARTTLS: not asked for": IllServer(
        _TLS, Code.STARTTLS_UNUSED, "read along", certificate="good", status=StageStatus.WARNING
    ),
    "EHLO: unknown": IllServer(
        _EHLO, Code.NO_ESMTP, "SMTP of old", "HELO", {Stage.EHLO: "502 5.5.1 what?"}, status=StageStatus.WARNING
    ),
}

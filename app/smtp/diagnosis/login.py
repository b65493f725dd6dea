"""The mechanisms that are offered against what the service has, and AUTH: tried once, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from app.mail.characters import shown
from app.mail.reply import Reply
from app.smtp.auth import authenticate, may_send_in_clear
from app.smtp.diagnosis.report import DiagnosisCode, Stage, StageName, StageStatus
from app.smtp.diagnosis.session import Session
from app.smtp.diagnosis.verdict import code_of, code_of_reply
from app.smtp.failure import Failure, Phase, SmtpFailure, failure_from
from app.smtp.server import Credentials, TokenCredentials


@dataclass(frozen=True, slots=True)
class Held:
    """AUTH may not be tried before `until`. `reply`: what the server said to the last one, where that is known."""

    until: datetime
    reply: Reply | None = None


PermitAuth = Callable[[], Awaitable[Held | None]]
"""Whether AUTH may be tried now: None, and then it counts as tried; else why not."""


EndAuth = Callable[[bool], Awaitable[None]]
"""Told whether AUTH, once permitted, was refused, before anybody else is. Not called where nobody knows."""


async def at_once() -> Held | None:
    """Always."""
    return None


async def untold(refused: bool) -> None:
    """Nobody is."""


async def log_in(session: Session, permit: PermitAuth, end: EndAuth, *, unreadable: bool) -> list[Stage]:
    """MECHANISMS and AUTH, or MECHANISMS alone where AUTH cannot be tried. Never raises SmtpFailure."""
    offered = session.connection.client.server_auth_methods
    told = f"Offered: {', '.join(shown(name.upper()) for name in offered)}." if offered else "No AUTH is offered."
    credentials = session.server.credentials
    if unreadable:
        return [_mechanisms(StageStatus.OK, told), _unreadable()]
    if credentials is None:
        evidence = "The service has no user name."
        skipped = Stage(StageName.AUTH, StageStatus.SKIPPED, DiagnosisCode.NO_CREDENTIALS, evidence)
        return [_mechanisms(StageStatus.SKIPPED, told, DiagnosisCode.NO_CREDENTIALS), skipped]
    if (hindrance := _hindrance(session)) is not None:
        return [_mechanisms(StageStatus.FAILED, told, hindrance)]
    hint = ""
    if isinstance(credentials, TokenCredentials):
        try:
            token = await credentials.obtain(None)
            credentials = session.use_token(credentials.username, token)
            hint = "" if token.is_fresh else _STORED
        except SmtpFailure as failed:
            return [_mechanisms(StageStatus.OK, told), _without_token(failed)]
    if (held := await permit()) is not None:
        return [_mechanisms(StageStatus.OK, told), _held(session, held)]
    refused = await _try(session, credentials)
    unsent = refused is not None and isinstance(refused[1], SmtpFailure) and refused[0].reply is None
    await end(refused is not None and not unsent)
    if refused is None:
        evidence = "The server took user name and credential."
        return [_mechanisms(StageStatus.OK, told), Stage(StageName.AUTH, StageStatus.OK, evidence=evidence)]
    failure, error = refused
    if unsent:
        return [_mechanisms(StageStatus.FAILED, told, DiagnosisCode.MECHANISM_NOT_OFFERED)]
    evidence = str(failure.reply) if failure.reply else failure.message
    code = _of_token(code_of(failure, error, session.server), session)
    evidence += hint if code is DiagnosisCode.TOKEN_REFUSED else ""
    return [_mechanisms(StageStatus.OK, told), Stage(StageName.AUTH, StageStatus.FAILED, code, evidence)]


_STORED = " (to a stored token; mail is tried once more, with a fresh one)"


async def _try(session: Session, credentials: Credentials) -> tuple[Failure, Exception] | None:
    """Authenticate; the failure, and what it was made from, or None."""
    try:
        async with asyncio.timeout(session.server.timeouts.auth):
            await authenticate(session.connection.client, session.server, credentials)
    except Exception as error:
        return failure_from(error, Phase.AUTH, session.server), error
    return None


def _hindrance(session: Session) -> DiagnosisCode | None:
    """What keeps any mechanism from being tried."""
    client, server = session.connection.client, session.server
    encrypted = client.get_transport_info("sslcontext") is not None
    if not encrypted and not may_send_in_clear(server, client.get_transport_info("peername")[0]):
        return DiagnosisCode.CLEAR_TEXT_AUTH
    if client.server_auth_methods:
        return None
    wants_tls = not encrypted and "starttls" in session.connection.extensions
    return DiagnosisCode.ENCRYPTION_REQUIRED if wants_tls else DiagnosisCode.AUTH_NOT_OFFERED


def _held(session: Session, held: Held) -> Stage:
    """Where it is known what the server said to the last one, that says what is wrong as well."""
    until = f"{held.until:%H:%M:%S} UTC"
    if held.reply is None:
        evidence = f"AUTH is not tried again before {until}."
        return Stage(StageName.AUTH, StageStatus.SKIPPED, DiagnosisCode.AUTH_TOO_SOON, evidence)
    code = _of_token(code_of_reply(held.reply, Phase.AUTH, session.server), session)
    evidence = f"{held.reply} (said to the last AUTH; it is not tried again before {until})"
    return Stage(StageName.AUTH, StageStatus.FAILED, code, evidence)


def _of_token(code: DiagnosisCode, session: Session) -> DiagnosisCode:
    """What is said of a password, said of an access token."""
    credentials = session.server.credentials
    is_token = isinstance(credentials, Credentials) and credentials.is_token
    return DiagnosisCode.TOKEN_REFUSED if is_token and code in _OF_PASSWORDS else code


_OF_PASSWORDS = frozenset(
    {
        DiagnosisCode.BAD_CREDENTIALS,
        DiagnosisCode.APP_PASSWORD_NEEDED,
        DiagnosisCode.BASIC_AUTH_DISABLED,
        DiagnosisCode.SMTP_CREDENTIALS_NEEDED,
    }
)


def _without_token(failed: SmtpFailure) -> Stage:
    return Stage(StageName.AUTH, StageStatus.FAILED, DiagnosisCode.NO_ACCESS_TOKEN, failed.failure.message)


def _unreadable() -> Stage:
    evidence = "The stored password could not be unsealed."
    return Stage(StageName.AUTH, StageStatus.FAILED, DiagnosisCode.PASSWORD_UNREADABLE, evidence)


def _mechanisms(status: StageStatus, told: str, code: DiagnosisCode = DiagnosisCode.OK) -> Stage:
    return Stage(StageName.MECHANISMS, status, code, told)

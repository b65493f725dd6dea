"""Walk through a session with one SMTP server, the way that delivery goes, but for DATA."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields, replace

from app.outbound.resolve import Resolve, resolve_host
from app.smtp.connection import Connection
from app.smtp.diagnosis.advice import Facts, advise
from app.smtp.diagnosis.certificate import peek_certificate
from app.smtp.diagnosis.echo import without_echo
from app.smtp.diagnosis.encrypt import encrypt
from app.smtp.diagnosis.envelope import probe_envelope
from app.smtp.diagnosis.login import EndAuth, PermitAuth, at_once, log_in, untold
from app.smtp.diagnosis.reach import look_up, reach
from app.smtp.diagnosis.report import DiagnosisCode, Stage, StageName, StageStatus
from app.smtp.diagnosis.session import Session
from app.smtp.diagnosis.verdict import code_of
from app.smtp.failure import Cause, SmtpFailure, reply_from
from app.smtp.server import Server, Timeouts

_KEYWORDS = ("SIZE", "PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to look at, and for how long: `total` seconds in all, `stage` for each phase where delivery gives it more.

    `recipient` None: MAIL and RCPT are not tried. Both addresses are in wire form. `unreadable`: the service has a
    password that could not be unsealed. `permit_auth` is asked right before AUTH, which is tried at most once, and
    `end_auth` is told right after it.
    """

    total: float = 60
    stage: float = 20
    max_addresses: int = 8
    certificate_days: int = 14
    sender: str = ""
    recipient: str | None = None
    unreadable: bool = False
    permit_auth: PermitAuth = at_once
    end_auth: EndAuth = untold


async def diagnose(server: Server, plan: Plan, resolve: Resolve = resolve_host) -> AsyncGenerator[Stage, None]:
    """Each stage as it ends, in the order of the session; those behind one that failed are SKIPPED.

    Connects only where delivery would, and sends no mail. Raises nothing for what a server does; nothing stays open
    when it ends, or is closed.
    """
    capped = replace(server, timeouts=_capped(server.timeouts, plan.stage))
    walk = _Walk(Session(capped, resolve), plan)
    try:
        async with aclosing(walk.stages()) as stages:
            async for stage in stages:
                yield stage
    finally:
        walk.session.end()


def _capped(timeouts: Timeouts, most: float) -> Timeouts:
    return Timeouts(**{phase.name: min(getattr(timeouts, phase.name), most) for phase in fields(timeouts)})


Step = Callable[[], Awaitable[Sequence[Stage]]]


class _Walk:
    def __init__(self, session: Session, plan: Plan) -> None:
        self.session = session
        self._plan = plan
        self._server = session.server
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + plan.total

    async def stages(self) -> AsyncGenerator[Stage, None]:
        told: set[StageName] = set()
        for name, step in self._steps():
            found = await self._run(name, step)
            for stage in found:
                told.add(stage.name)
                yield stage
            if self._is_stuck(found):
                break
        for name in _order(self._server):
            if name not in told:
                yield Stage(name, StageStatus.SKIPPED, DiagnosisCode.NOT_REACHED, "An earlier stage failed.")

    def _steps(self) -> Iterable[tuple[StageName, Step]]:
        plan, session = self._plan, self.session
        tls: tuple[StageName, Step] = (StageName.TLS, lambda: encrypt(session, plan.certificate_days))
        yield StageName.DNS, lambda: look_up(session)
        yield StageName.TCP, lambda: reach(session, plan.max_addresses)
        if self._server.implicit_tls:
            yield tls
        yield StageName.GREETING, self._greeting
        yield StageName.EHLO, self._ehlo
        if not self._server.implicit_tls:
            yield tls
        yield StageName.EXTENSIONS, self._extensions
        yield StageName.MECHANISMS, self._log_in
        yield StageName.ENVELOPE, lambda: probe_envelope(session, plan.sender, plan.recipient)

    async def _run(self, name: StageName, step: Step) -> list[Stage]:
        """What the step found, with its time and advice, and without what the server was told in confidence."""
        begun = self._loop.time()
        try:
            async with asyncio.timeout_at(self._deadline):
                found = await step()
        except SmtpFailure as failed:
            found = [_failed(name, failed, self._server)]
        except TimeoutError:
            evidence = f"{self._plan.total:g} seconds are over."
            found = [Stage(name, StageStatus.FAILED, DiagnosisCode.DIAGNOSIS_TIMEOUT, evidence)]
        took = round((self._loop.time() - begun) * 1000)
        return [self._finished(stage, took if number == 0 else 0) for number, stage in enumerate(found)]

    def _finished(self, stage: Stage, took: int) -> Stage:
        facts = Facts(self._server, self._plan.total, self.session.days_left)
        evidence = without_echo(stage.evidence, self.session.server.credentials)
        milliseconds = stage.milliseconds or took
        return replace(stage, evidence=evidence, advice=advise(stage.code, facts), milliseconds=milliseconds)

    def _is_stuck(self, found: Iterable[Stage]) -> bool:
        """One address that does not answer is no reason to stop where another one does."""
        stages = (stage for stage in found if stage.name is not StageName.TCP or self.session.address is None)
        return any(stage.status is StageStatus.FAILED for stage in stages)

    async def _greeting(self) -> list[Stage]:
        try:
            greeting = await self.session.connection.greet()
        except SmtpFailure as failed:
            if failed.failure.cause in (Cause.TIMED_OUT, Cause.DISCONNECTED) and await self._speaks_tls():
                evidence = "It says nothing, but answers to the beginning of a TLS session."
                return [Stage(StageName.GREETING, StageStatus.FAILED, DiagnosisCode.PLAIN_ON_TLS_PORT, evidence)]
            raise
        return [Stage(StageName.GREETING, StageStatus.OK, evidence=str(greeting))]

    async def _speaks_tls(self) -> bool:
        address = self.session.address
        if self._server.implicit_tls or address is None:
            return False
        return await peek_certificate(self._server, address, implicit=True) is not None

    async def _ehlo(self) -> list[Stage]:
        connection = self.session.connection
        await connection.ehlo()
        response = connection.client.last_ehlo_response
        if response is None:
            evidence = "It knows no EHLO, and answers to HELO."
            return [Stage(StageName.EHLO, StageStatus.WARNING, DiagnosisCode.NO_ESMTP, evidence)]
        reply = reply_from(response.code, response.message.partition("\n")[0], self._server)
        return [Stage(StageName.EHLO, StageStatus.OK, evidence=str(reply))]

    async def _log_in(self) -> list[Stage]:
        plan = self._plan
        return await log_in(self.session, plan.permit_auth, plan.end_auth, unreadable=plan.unreadable)

    async def _extensions(self) -> list[Stage]:
        return [Stage(StageName.EXTENSIONS, StageStatus.OK, evidence=_told(self.session.connection))]


def _failed(name: StageName, failed: SmtpFailure, server: Server) -> Stage:
    failure = failed.failure
    evidence = str(failure.reply) if failure.reply else failure.message
    return Stage(name, StageStatus.FAILED, code_of(failure, failed.__cause__, server), evidence)


def _told(connection: Connection) -> str:
    offered = connection.extensions
    sizes = offered.get("size", "").partition(" ")[0]
    there = [name for name in _KEYWORDS if name.lower() in offered]
    missing = [name for name in _KEYWORDS if name not in there]
    told = ", ".join(f"SIZE {sizes}" if name == "SIZE" and sizes.isdecimal() else name for name in there)
    return f"Offered: {told or 'none'}. Not offered: {', '.join(missing) or 'none'}."


def _order(server: Server) -> list[StageName]:
    """The stages in the order of the session."""
    tls = (StageName.TLS, StageName.CERTIFICATE)
    plain = (StageName.GREETING, StageName.EHLO)
    first = (*tls, *plain) if server.implicit_tls else (*plain, *tls)
    last = (StageName.EXTENSIONS, StageName.MECHANISMS, StageName.AUTH, StageName.ENVELOPE)
    return [StageName.DNS, StageName.TCP, *first, *last]

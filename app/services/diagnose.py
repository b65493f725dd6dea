"""Diagnose the server of a service: one at a time, with one AUTH at most, and none sooner than its circuit allows."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from app import clock
from app.access.policy import require
from app.access.principal import Action, Principal
from app.database.connection import transaction
from app.database.finish import finish
from app.database.key import public_id
from app.errors import Conflict, ErrorCode, InvalidInput, Problem
from app.mail.address import check_email, wire_address
from app.outbound.resolve import Resolve, resolve_host
from app.services.circuit import CircuitPolicy, end_auth, permit_auth, read_circuits
from app.services.manage import get_service
from app.services.models import Service, ServiceKind
from app.services.secret import Sealer, SealError
from app.services.server import server_for
from app.settings import Settings
from app.smtp.diagnosis.login import Held
from app.smtp.diagnosis.report import DiagnosisCode, Stage, StageName, StageStatus
from app.smtp.diagnosis.walk import Plan, diagnose
from app.smtp.server import Server

logger = logging.getLogger(__name__)

_OF_AUTH = "Authentication failed"
"""How the reason of a circuit begins that a refused AUTH has opened."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What to try MAIL and RCPT with; without a recipient they are not tried. `sender` None: the service's default."""

    recipient: str | None = None
    sender: str | None = None


class Diagnoser:
    """Diagnoses services for one process."""

    def __init__(
        self,
        settings: Settings,
        sealer: Sealer,
        *,
        resolve: Resolve = resolve_host,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._settings = settings
        self._sealer = sealer
        self._resolve = resolve
        self._now = now
        self._circuit = CircuitPolicy(settings.circuit_probe_interval, settings.circuit_auth_interval)
        self._interval = timedelta(seconds=settings.circuit_auth_interval)
        self._under_way: set[UUID] = set()
        self._auths: dict[UUID, datetime] = {}

    async def diagnose(self, service_id: UUID, probe: Probe, by: Principal | None) -> AsyncGenerator[Stage, None]:
        """Each stage as it ends. Needs MANAGE_SERVICES for this service; `by` None is the operator at the machine.

        Nothing is held against the circuit but a refused AUTH, which nobody repeats before its interval has passed.
        Before the first stage it raises Forbidden, NotFound, InvalidInput (`recipient`, `from`), and Conflict
        WRONG_STATE, retryable, while another diagnosis of this service is under way, or as many as may be.
        """
        if by is not None:
            require(by, Action.MANAGE_SERVICES, service_id)
        service = await get_service(service_id)
        plan = self._plan(service, probe)
        with self._alone(service.id):
            told: list[Stage] = []
            try:
                async with aclosing(self._stages(service, plan)) as stages:
                    async for stage in stages:
                        told.append(stage)
                        yield stage
            finally:
                logger.info("service %s: diagnosis: %s", public_id("svc", service.id), _summary(told))

    def _plan(self, service: Service, probe: Probe) -> Plan:
        settings = self._settings
        sender = probe.sender or service.from_email or settings.mail_from_address
        problems = tuple(_problems(probe, sender))
        if problems:
            raise InvalidInput(problems=problems)
        return Plan(
            total=settings.diagnosis_timeout,
            stage=settings.diagnosis_stage_timeout,
            max_addresses=settings.diagnosis_max_addresses,
            certificate_days=settings.diagnosis_certificate_days,
            sender=wire_address(sender) if sender and probe.recipient else "",
            recipient=wire_address(probe.recipient) if probe.recipient else None,
        )

    @contextmanager
    def _alone(self, service_id: UUID) -> Iterator[None]:
        busy = None
        if service_id in self._under_way:
            busy = "Another diagnosis of this service is under way; look at its result, or try again soon."
        elif len(self._under_way) >= self._settings.diagnosis_max_at_once:
            busy = f"{len(self._under_way)} diagnoses are under way, which is the limit; try again soon."
        if busy is not None:
            raise Conflict(busy, code=ErrorCode.WRONG_STATE, field=("id",), retryable=True)
        self._under_way.add(service_id)
        try:
            yield
        finally:
            self._under_way.discard(service_id)

    async def _stages(self, service: Service, plan: Plan) -> AsyncGenerator[Stage, None]:
        if service.kind == ServiceKind.SANDBOX:
            for name in StageName:
                evidence = "The built-in inbox takes the mail of this service; there is no server to connect to."
                yield Stage(name, StageStatus.SKIPPED, DiagnosisCode.SANDBOX, evidence)
            return
        server, readable = self._server(service)
        plan = replace(
            plan,
            unreadable=not readable,
            permit_auth=lambda: self._permit_auth(service),
            end_auth=lambda refused: finish(self._end_auth(service, refused=refused)),
        )
        async with aclosing(diagnose(server, plan, self._resolve)) as stages:
            async for stage in stages:
                yield stage

    def _server(self, service: Service) -> tuple[Server, bool]:
        """The server to talk to, and whether its password could be unsealed; without it the rest can still be told."""
        try:
            return server_for(service, self._settings, self._sealer), True
        except SealError:
            without = copy(service)
            without.username = without.sealed_password = None
            return server_for(without, self._settings, self._sealer), False

    async def _permit_auth(self, service: Service) -> Held | None:
        """What was broken off is known to this process alone: it may have been refused, or not."""
        moment = self._now()
        begun = self._auths.get(service.id)
        if begun is not None and begun + self._interval > moment:
            return Held(begun + self._interval)
        until = await permit_auth(service.id, moment, self._circuit)
        if until is None:
            self._auths[service.id] = moment
            return None
        circuit = (await read_circuits([service.id])).get(service.id)
        of_auth = circuit is not None and circuit.reason.startswith(_OF_AUTH)
        return Held(until, circuit.reply if circuit is not None and of_auth else None)

    async def _end_auth(self, service: Service, *, refused: bool) -> None:
        async with transaction():
            await end_auth(service.id, service.version, self._now(), self._circuit, refused=refused)
        del self._auths[service.id]


def _problems(probe: Probe, sender: str | None) -> Iterator[Problem]:
    for name, email in (("recipient", probe.recipient), ("from", probe.sender)):
        problem = check_email(email) if email is not None else None
        if problem is not None:
            yield replace(problem, field=(name,))
    if probe.recipient and not sender:
        message = "No sender: give a from address, or a default one on the service."
        yield Problem(ErrorCode.NO_SENDER, message, ("from",))


def _summary(stages: Sequence[Stage]) -> str:
    """What the log says of it: no address, and nothing that the server said."""
    ill = [f"{stage.name} {stage.code}" for stage in stages if stage.advice is not None]
    return ", ".join(ill) or ("nothing is wrong" if stages else "broken off")

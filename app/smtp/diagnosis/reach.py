"""DNS and TCP: which addresses the host has, and which of them accept."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.outbound.guard import Address
from app.outbound.resolve import AddressRefused, PortRefused, among_permitted
from app.smtp.diagnosis.report import DiagnosisCode, Stage, StageName, StageStatus
from app.smtp.diagnosis.session import Session
from app.smtp.diagnosis.verdict import code_of
from app.smtp.failure import Phase, failure_from
from app.smtp.reach import connect_to

_FORBIDDEN = "None of its addresses is one that this server connects to."


async def look_up(session: Session) -> list[Stage]:
    """The host's addresses. Those that are not connected to are not told: who may ask need not know that network."""
    server = session.server
    try:
        async with asyncio.timeout(server.timeouts.connect):
            session.found = list(dict.fromkeys(await session.resolve(server.host)))
    except TimeoutError:
        return [_dns_failed(DiagnosisCode.DNS_TIMEOUT, f"No answer within {server.timeouts.connect:g} seconds.")]
    except OSError:
        session.found = ()
    if not session.found:
        return [_dns_failed(DiagnosisCode.HOST_NOT_FOUND, f"Host not found: {server.host}.")]
    told = [f"{'A' if one.version == 4 else 'AAAA'} {one}" for one in session.found if server.guard.permits(one)]
    hidden = len(session.found) - len(told)
    if told and hidden:
        told.append(f"and {hidden} that this server does not connect to")
    return [Stage(StageName.DNS, StageStatus.OK, evidence=", ".join(told) or _FORBIDDEN)]


async def reach(session: Session, most: int) -> list[Stage]:
    """Connect to each of the first `most` permitted addresses, side by side, and go on with the first that accepts.

    Delivery tries them one by one within one time limit: where one that is before the first that accepts does not
    answer at all, it never comes to that, and so this one counts as failed.
    """
    server = session.server
    try:
        permitted = among_permitted(session.found, server.guard, server.port)[:most]
    except AddressRefused:
        return [_tcp_failed(DiagnosisCode.ADDRESS_FORBIDDEN, _FORBIDDEN)]
    except PortRefused:
        return [_tcp_failed(DiagnosisCode.PORT_FORBIDDEN, f"Port {server.port} is not among those in use.")]
    stages = await asyncio.gather(*(_connect(session, address) for address in permitted))
    accepted = [stage.status is StageStatus.OK for stage in stages]
    if True not in accepted:
        return stages
    first = accepted.index(True)
    session.choose(permitted[first])
    if not server.implicit_tls:
        await session.connection.open(session.take_socket())
    return _judged(stages, first)


def _judged(stages: Sequence[Stage], first: int) -> list[Stage]:
    """Mail goes all the same, unless delivery waits at an address before the first that accepts."""
    judged = []
    for number, stage in enumerate(stages):
        waits = number < first and stage.code is DiagnosisCode.CONNECT_TIMEOUT
        passed_over = stage.status is StageStatus.FAILED and not waits
        judged.append(replace(stage, status=StageStatus.WARNING) if passed_over else stage)
    return judged


async def _connect(session: Session, address: Address) -> Stage:
    server, loop = session.server, asyncio.get_running_loop()
    where = f"[{address}]:{server.port}" if address.version == 6 else f"{address}:{server.port}"
    begun = loop.time()

    def ended(status: StageStatus, code: DiagnosisCode, said: str) -> Stage:
        took = round((loop.time() - begun) * 1000)
        return Stage(StageName.TCP, status, code, f"{where}: {said}", milliseconds=took)

    try:
        async with asyncio.timeout(server.timeouts.connect):
            session.keep(address, await connect_to(address, server.port))
    except OSError as error:  # TimeoutError is one
        code = code_of(failure_from(error, Phase.CONNECT, server), error, server)
        said = (
            f"no answer within {server.timeouts.connect:g} seconds." if isinstance(error, TimeoutError) else _SAID[code]
        )
        return ended(StageStatus.FAILED, code, said)
    return ended(StageStatus.OK, DiagnosisCode.OK, "connected.")


_SAID = {DiagnosisCode.CONNECTION_REFUSED: "connection refused.", DiagnosisCode.UNREACHABLE: "cannot be reached."}


def _dns_failed(code: DiagnosisCode, evidence: str) -> Stage:
    return Stage(StageName.DNS, StageStatus.FAILED, code, evidence)


def _tcp_failed(code: DiagnosisCode, evidence: str) -> Stage:
    return Stage(StageName.TCP, StageStatus.FAILED, code, evidence)

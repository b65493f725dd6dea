"""What ends an outage locks service, circuit and recipients in this order, so that two at once do not deadlock."""

import asyncio
from uuid import UUID

from app.clock import now
from app.database.connection import dialect, execute, rows, transaction
from app.queue.claim import claim_message
from app.queue.forgive import forgive_outage
from app.queue.pause import pause_service, resume_service
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.circuit import CircuitPolicy, Fault, close_circuit, open_circuit, read_circuits, require_proof
from app.services.models import Service
from tests.factories import NOW, after
from tests.queue.conftest import Put

REFUSED = Fault("Connection refused.")


async def _until_someone_waits() -> None:
    """Until this transaction keeps another one waiting. On SQLite every other one waits from its beginning."""
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    while dialect() == "postgres" and not await rows(waiting):  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.01)


async def _opened(service: Service) -> bool:
    async with transaction():
        return await open_circuit(service.id, service.version, REFUSED, NOW, CircuitPolicy(), probing=False)


async def test_a_probe_that_succeeds_while_its_service_is_resumed(
    service: Service, put_mail: Put, worker: UUID
) -> None:
    claim = await claim_message(worker, await put_mail(), NOW, 60)
    assert claim is not None
    deferred = Settlement(claim.recipients[0].id, 1, RecipientState.DEFERRED, after(30))
    assert await settle(claim, lambda _: [deferred], NOW, NOW)
    assert await _opened(service)
    await pause_service(service.id, "maintenance", None, after(1), max_reason_chars=20)
    closed = asyncio.Event()

    async def succeed() -> None:
        async with transaction():
            assert await close_circuit(service.id, service.version) == NOW
            closed.set()
            await _until_someone_waits()
            await forgive_outage(service.id, NOW, after(60))

    async def resume() -> None:
        await closed.wait()
        await resume_service(service.id, None, after(60))

    await asyncio.gather(succeed(), resume())
    assert (await Service.get(id=service.id)).paused_at is None
    assert await rows("SELECT tried_since FROM recipient") == [{"tried_since": None}]


async def test_a_fault_while_the_service_gets_new_credentials(service: Service) -> None:
    changed = asyncio.Event()

    async def change() -> None:
        async with transaction():
            await Service.filter(id=service.id).select_for_update().get()
            await execute("UPDATE service SET version = version + 1 WHERE id = $1", service.id)
            changed.set()
            await _until_someone_waits()
            await require_proof(service.id, now())

    async def fail() -> bool:
        await changed.wait()
        return await _opened(service)

    _, opened = await asyncio.gather(change(), fail())
    assert not opened, "the fault is of the credentials before"
    assert await read_circuits([service.id]) == {}

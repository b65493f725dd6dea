"""A mail that leaves by another service takes its job along."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import execute
from app.database.jobs import JOBS_TABLE
from app.queue.pgqueuer import PgQueuerEngine
from app.queue.put import put
from app.queue.recover import recover
from app.queue.route import divert
from app.services.models import Service
from app.settings import Settings
from tests.factories import make_principal, make_service, new_message
from tests.queue.conftest import jobs


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def engine(settings: Settings) -> PgQueuerEngine:
    return PgQueuerEngine(settings.model_copy(update={"queue_poll": 0.05}))


async def test_the_job_goes_with_its_mail_to_another_service(engine: PgQueuerEngine, service: Service) -> None:
    """Moved while it waits, and moved in the middle of a call, as an attempt does that meets a fault."""
    other, third = await make_service("other"), await make_service("third")
    waiting = new_message(service, await make_principal(), fallbacks=[other.id])
    await put(waiting, now(), engine)
    await execute("UPDATE service SET fallbacks = $2 WHERE id = $1", service.id, f'["{other.id}"]')
    await execute(
        "INSERT INTO circuit (service_id, opened_at, reason, probe_at, auth_after) VALUES ($1, $2, 'no', $3, $3)",
        service.id,
        now(),
        now() + timedelta(hours=1),
    )
    assert await divert(engine, now(), 10) == 1
    assert [job["entrypoint"] for job in await jobs()] == [f"send:{other.id}"]

    called: list[str] = []
    stop = asyncio.Event()

    async def handle(message_id: UUID) -> None:
        (job,) = await jobs()
        called.append(job["entrypoint"])
        if len(called) == 1:
            await execute("UPDATE message SET route_id = $2 WHERE id = $1", message_id, third.id)
        else:
            await execute("UPDATE message SET due_at = NULL WHERE id = $1", message_id)
            stop.set()

    engine.services_changed({other.id: 1, third.id: 1})
    async with asyncio.timeout(20):
        await engine.run(handle, stop)
    assert called == [f"send:{other.id}", f"send:{third.id}"]
    assert await jobs() == []


async def test_a_job_of_another_service_than_the_mails_counts_as_none(engine: PgQueuerEngine, service: Service) -> None:
    other = await make_service("other")
    message = new_message(service, await make_principal())
    await put(message, now(), engine)
    await execute("UPDATE message SET route_id = $2 WHERE id = $1", message.id, other.id)
    assert await recover(engine, now(), 10) == 1
    assert [job["entrypoint"] for job in await jobs()] == [f"send:{other.id}"]


async def handled_until_one_is(engine: PgQueuerEngine) -> list[UUID]:
    """Run the engine until it has called for a message, which is settled then; for which it called."""
    called: list[UUID] = []
    stop = asyncio.Event()

    async def handle(message_id: UUID) -> None:
        called.append(message_id)
        await execute("UPDATE message SET due_at = NULL WHERE id = $1", message_id)
        stop.set()

    await engine.run(handle, stop)
    return called


async def test_the_job_of_a_worker_that_was_lost_goes_with_its_mail(engine: PgQueuerEngine, service: Service) -> None:
    """No worker serves the service that it was for: it is paused, or its circuit is open."""
    other = await make_service("other")
    message = new_message(service, await make_principal())
    await put(message, now(), engine)
    await execute(f"UPDATE {JOBS_TABLE} SET status = 'picked', heartbeat = NOW() - INTERVAL '1 day'")
    await execute("UPDATE message SET route_id = $2 WHERE id = $1", message.id, other.id)
    engine.services_changed({other.id: 1})
    async with asyncio.timeout(20):
        called = await handled_until_one_is(engine)
    assert called == [message.id]


async def test_the_job_of_a_worker_that_was_lost_goes_with_its_mail_though_its_slot_is_taken_there(
    engine: PgQueuerEngine, service: Service
) -> None:
    other, principal = await make_service("other"), await make_principal()
    lost, under_way = new_message(service, principal), new_message(other, principal)
    for message in (lost, under_way):
        await put(message, now(), engine)
    picked = f"UPDATE {JOBS_TABLE} SET status = 'picked', slot = 0, queue_manager_id = $1"
    await execute(f"{picked}, heartbeat = NOW()", other.id)
    await execute(f"UPDATE {JOBS_TABLE} SET heartbeat = NOW() - INTERVAL '1 day' WHERE dedupe_key = $1", str(lost.id))
    await execute("UPDATE message SET route_id = $2 WHERE id = $1", lost.id, other.id)
    engine.services_changed({other.id: 2})
    async with asyncio.timeout(20):
        called = await handled_until_one_is(engine)
    assert called == [lost.id]
    assert [job["dedupe_key"] for job in await jobs()] == [str(under_way.id)]

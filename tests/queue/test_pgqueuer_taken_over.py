"""What PgQueuer's engine does with jobs that another worker took over meanwhile, because it was silent for too long."""

import asyncio

import pytest

from app.database.connection import execute
from app.database.jobs import JOBS_TABLE
from app.database.key import new_key
from app.queue.pgqueuer import PgQueuerEngine
from app.services.models import Service
from app.settings import Settings
from tests.queue.calls import Gate, running
from tests.queue.conftest import Put, holders, jobs, until_held_by


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


async def test_the_end_of_a_call_takes_no_slot_from_who_has_taken_its_job_over(
    service: Service, put_mail: Put, quick: Settings
) -> None:
    message_id = await put_mail()
    silent, other = PgQueuerEngine(quick), PgQueuerEngine(quick)
    silents, others = Gate(), Gate()
    silents.settles = False
    for engine in (silent, other):
        engine.services_changed({service.id: 1})
    async with running(silent, silents.handle):
        await silents.until(1)
        await execute(f"UPDATE {JOBS_TABLE} SET heartbeat = NOW() - INTERVAL '1 day'")
        async with running(other, others.handle):
            await others.until(1)
            silents.end(message_id)
            async with asyncio.timeout(20):
                while silent.connections(service.id):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert await holders() == [message_id]
            others.end(message_id)
    assert await jobs() == []


async def test_a_slot_is_handed_over_to_one_that_is_the_workers_own(
    service: Service, put_mail: Put, quick: Settings
) -> None:
    first, second, third = [await put_mail() for _ in range(3)]
    engine = PgQueuerEngine(quick)
    engine.services_changed({service.id: 1})
    engine.places_ahead({service.id: 2})
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(3)
        await execute(f"UPDATE {JOBS_TABLE} SET queue_manager_id = $2 WHERE dedupe_key = $1", str(third), new_key())
        gate.end(first)
        await until_held_by(second)
        assert engine.connections(service.id) == 1
        gate.end(third)
        gate.end(second)
    assert await jobs() == []

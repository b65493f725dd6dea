"""Due mail that no job knows of, or one that comes too late."""

from datetime import timedelta
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import execute
from app.database.jobs import JOBS_TABLE
from app.queue.embedded import EmbeddedEngine
from app.queue.pgqueuer import PgQueuerEngine
from app.queue.put import put
from app.queue.recover import recover
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from tests.factories import NOW, make_principal, new_message
from tests.queue.conftest import Put, jobs


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def engine(settings: Settings) -> PgQueuerEngine:
    return PgQueuerEngine(settings)


async def test_what_no_job_knows_of_is_handed_back(service: Service, put_mail: Put, engine: PgQueuerEngine) -> None:
    principal = await make_principal("other")
    other_engine = EmbeddedEngine(Wakeup(), 1)
    lost = [(await put(new_message(service, principal), NOW, other_engine)).message_id for _ in range(3)]
    later = now() + timedelta(hours=1)
    await put(new_message(service, principal), later, other_engine)
    await put_mail()
    assert len(await jobs()) == 1

    assert await recover(engine, now(), 2) == 2
    assert await recover(engine, now(), 2) == 1
    assert await recover(engine, now(), 2) == 0
    assert {UUID(job["dedupe_key"]) for job in await jobs()} >= set(lost)
    assert len(await jobs()) == 4


async def test_mail_that_is_due_at_one_time_keeps_its_order(service: Service, engine: PgQueuerEngine) -> None:
    """Wherever its rows are: PostgreSQL moves one that changes."""
    principal = await make_principal("other")
    other_engine = EmbeddedEngine(Wakeup(), 1)
    lost = [(await put(new_message(service, principal), NOW, other_engine)).message_id for _ in range(3)]
    for change in (timedelta(seconds=1), -timedelta(seconds=1)):
        await execute("UPDATE message SET due_at = due_at + $2 WHERE id = $1", lost[0], change)
    assert await recover(engine, now(), 10) == 3
    assert [UUID(job["dedupe_key"]) for job in await jobs()] == lost


async def test_a_job_that_is_late_for_its_mail_is_replaced(put_mail: Put, engine: PgQueuerEngine) -> None:
    due = await put_mail()
    await execute(f"UPDATE {JOBS_TABLE} SET execute_after = NOW() + INTERVAL '4 hours'")
    assert await recover(engine, now(), 10) == 1
    assert await recover(engine, now(), 10) == 0
    [job] = await jobs()
    assert UUID(job["dedupe_key"]) == due
    assert job["execute_after"] <= now()

"""A message gets its job with its own row, the same as if it were submitted after that."""

from datetime import timedelta

import pytest

from app.clock import now
from app.queue.engine import Job, Priority
from app.queue.pgqueuer import PgQueuerEngine
from app.queue.put import put
from app.queue.schedule import Schedule
from app.services.models import Service
from app.settings import Settings
from tests.factories import make_principal, new_message
from tests.queue.conftest import jobs


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def engine(settings: Settings) -> PgQueuerEngine:
    return PgQueuerEngine(settings)


async def test_the_job_that_comes_with_a_message_is_as_a_submitted_one(
    service: Service, engine: PgQueuerEngine
) -> None:
    principal = await make_principal("other")
    for send_at, priority in ((None, Priority.HIGH), (now() + timedelta(hours=1), Priority.LOW)):
        message = new_message(service, principal, schedule=Schedule(send_at, priority=priority))
        await put(message, now(), engine)
        [inserted] = [job for job in await jobs() if job["payload"] == message.id.bytes]
        await engine.submit([Job(message.id, service.id, send_at or now(), priority)])
        [submitted] = [job for job in await jobs() if job["payload"] == message.id.bytes]
        assert inserted["id"] < submitted["id"]
        assert abs(inserted["execute_after"] - submitted["execute_after"]) < timedelta(seconds=20)
        for job in (inserted, submitted):
            assert job.pop("headers") in (None, "null")
            for own in ("id", "created", "updated", "heartbeat", "execute_after"):
                del job[own]
        assert inserted == submitted

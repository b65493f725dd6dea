"""One service, one principal, and mail put into the queue, on both databases."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from app.access.principal import Principal
from app.database.connection import rows
from app.database.jobs import JOBS_TABLE
from app.database.key import new_key
from app.queue.choose import choose_engine
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Engine
from app.queue.intervene import Intervener
from app.queue.put import put
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from tests.factories import NOW, make_principal, make_service, new_message

Put = Callable[..., Awaitable[UUID]]


@pytest.fixture
async def service(database: Settings) -> Service:
    return await make_service()


@pytest.fixture
async def principal(database: Settings) -> Principal:
    return await make_principal()


@pytest.fixture
def wakeup() -> Wakeup:
    return Wakeup()


@pytest.fixture
def engine(wakeup: Wakeup) -> EmbeddedEngine:
    return EmbeddedEngine(wakeup, poll=0.05)


@pytest.fixture
def engine_of_database(settings: Settings, wakeup: Wakeup) -> Engine:
    """The engine that goes with the database, as it is outside of tests."""
    return choose_engine(settings, wakeup)


@pytest.fixture
def intervener(engine: EmbeddedEngine, wakeup: Wakeup) -> Intervener:
    return Intervener(engine, wakeup, max_ahead=366 * 24 * 3600)


@pytest.fixture
def put_mail(service: Service, principal: Principal, engine: Engine) -> Put:
    """Put a mail to these addresses, due at NOW; returns its key. `service` and `moment` can be others."""

    async def put_one(*emails: str, **fields: Any) -> UUID:
        through, moment = fields.pop("service", service), fields.pop("moment", NOW)
        return (await put(new_message(through, principal, *emails, **fields), moment, engine)).message_id

    return put_one


@pytest.fixture
def worker() -> UUID:
    return new_key()


@pytest.fixture
def other_worker() -> UUID:
    return new_key()


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """That poll often."""
    return settings.model_copy(update={"queue_poll": 0.05})


async def jobs() -> list[dict[str, Any]]:
    """PgQueuer's rows, in the order in which they were made."""
    return await rows(f"SELECT * FROM {JOBS_TABLE} ORDER BY id")


async def holders() -> list[UUID]:
    """Whose jobs have a slot, in the order of the slots."""
    picked = [job for job in await jobs() if job["status"] == "picked" and job["slot"] is not None]
    return [UUID(bytes=job["payload"]) for job in sorted(picked, key=lambda job: job["slot"])]


async def until_held_by(*message_ids: UUID) -> None:
    async with asyncio.timeout(20):
        while await holders() != list(message_ids):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

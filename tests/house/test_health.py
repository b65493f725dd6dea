"""Live: the process answers. Ready: it takes mail and a worker will deliver it; else it says what is missing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from contextvars import Context
from typing import Any
from uuid import UUID

import httpx2
import pytest
from starlette.applications import Starlette

from app.clock import now
from app.database.configuration import sqlite_path
from app.database.connection import close_database, execute, open_database, transaction
from app.database.migrate import migration_names
from app.health import check_readiness, health_routes
from app.queue.heartbeat import beat
from app.settings import Settings
from tests.factories import NOW, after

WORKER = UUID(int=1)
LOST_AFTER = 40.0


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(Starlette(routes=list(health_routes(settings))))
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
        yield client


async def test_with_a_living_worker_it_is_ready(database: Settings, client: httpx2.AsyncClient) -> None:
    await beat(WORKER, now())
    response = await client.get("/health/ready")

    checks = {"database": "ok", "migrations": "ok", "worker": "ok"}
    assert (response.status_code, response.json()) == (200, {"status": "ready", "checks": checks})


@pytest.mark.parametrize(
    ("seconds", "worker"), [(0, "ok"), (40, "ok"), (40.001, "none has given a sign of life since")]
)
@pytest.mark.usefixtures("sqlite_database")
async def test_a_worker_is_lost_when_it_was_silent_for_too_long(seconds: float, worker: str) -> None:
    await beat(WORKER, NOW)
    checks = await check_readiness(after(seconds), LOST_AFTER)
    assert checks["worker"].startswith(worker)


@pytest.mark.usefixtures("sqlite_database")
async def test_one_living_worker_is_enough() -> None:
    await beat(WORKER, NOW)
    await beat(UUID(int=2), after(100))
    assert (await check_readiness(after(120), LOST_AFTER))["worker"] == "ok"


async def test_without_a_worker_it_is_not_ready(database: Settings, client: httpx2.AsyncClient) -> None:
    body = await not_ready(client)
    assert body["reason"] == "worker: none is running"
    assert body["checks"] == {"database": "ok", "migrations": "ok", "worker": "none is running"}


async def test_with_pending_migrations_it_is_not_ready(database: Settings, client: httpx2.AsyncClient) -> None:
    await beat(WORKER, now())
    await execute("DELETE FROM tortoise_migrations")
    assert (await not_ready(client))["reason"] == f"migrations: not applied: {', '.join(migration_names('migrations'))}"


async def test_without_a_database_it_is_not_ready_but_live(database: Settings, client: httpx2.AsyncClient) -> None:
    await close_database()
    body = await not_ready(client)

    assert body["reason"].startswith("database: it does not answer")
    assert list(body["checks"]) == ["database"]
    live = await client.get("/health/live")
    assert (live.status_code, live.json()) == (200, {"status": "live"})


async def test_while_the_database_hangs_it_is_not_ready_and_says_so_soon(settings: Settings) -> None:
    async with opened(settings, health_timeout=0.05) as client, transaction():
        await execute(
            "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, 'h', 1, $2, $2)", WORKER, NOW
        )
        if settings.database_url.startswith("postgres"):
            await execute("LOCK TABLE worker")
        for _ in range(2):
            asking = Context().run(asyncio.create_task, not_ready(client))
            assert (await asking)["reason"].startswith("database: it does not answer (for ")


async def test_while_nobody_can_write_it_is_not_ready(sqlite_settings: Settings) -> None:
    async with opened(sqlite_settings, database_busy_timeout=0.1, health_timeout=20, health_interval=0.001) as client:
        await beat(WORKER, now())
        with closing(sqlite3.connect(sqlite_path(sqlite_settings.database_url), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            reason = (await not_ready(client))["reason"]
        assert reason == "database: it cannot be written to (OperationalError)"
        assert (await client.get("/health/ready")).status_code == 200


async def test_the_database_is_asked_once_for_all_who_ask_in_a_moment(settings: Settings) -> None:
    async with opened(settings, health_interval=3600) as client:
        assert (await not_ready(client))["reason"] == "worker: none is running"
        await beat(WORKER, now())
        assert (await not_ready(client))["reason"] == "worker: none is running"


@asynccontextmanager
async def opened(settings: Settings, **changes: float) -> AsyncIterator[httpx2.AsyncClient]:
    changed = settings.model_copy(update=changes)
    await open_database(changed)
    try:
        transport = httpx2.ASGITransport(Starlette(routes=list(health_routes(changed))))
        async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
            yield client
    finally:
        await close_database()


async def test_no_address_of_the_database_is_shown(database: Settings, client: httpx2.AsyncClient) -> None:
    await execute("ALTER TABLE worker RENAME TO gone")
    body = str(await not_ready(client))
    assert "worker" not in body.replace("'worker'", "")
    assert database.database_url.rpartition("/")[2] not in body


async def not_ready(client: httpx2.AsyncClient) -> dict[str, Any]:
    response = await client.get("/health/ready")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    body: dict[str, Any] = response.json()
    assert body["status"] == "not ready"
    return body

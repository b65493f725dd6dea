"""Live: the process answers. Ready: it takes mail and a worker will deliver it; else it says what is missing."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import pytest
from starlette.applications import Starlette

from app.clock import now
from app.database.connection import close_database, execute
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

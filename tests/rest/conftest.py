"""The REST routes in memory, with a worker that sends through a receiver."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from app.database.connection import close_database, open_database
from app.inbox.receiver import Receiver, Script
from app.queue.embedded import EmbeddedEngine
from app.queue.wakeup import Wakeup
from app.rest.routes import rest_endpoint, rest_routes
from app.rest.send import Sender
from app.services.models import Service
from app.services.secret import sealer_from
from app.settings import Settings
from app.submission.submit import Submitter
from app.submission.verdict import VerdictWaiter
from app.worker import running_worker
from tests.factories import make_key, make_service

MAIL = {"to": "bob@example.com", "subject": "Hello", "body_text": "It works."}
URL = "/api/v2/email"


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def receiver(script: Script) -> AsyncIterator[Receiver]:
    async with Receiver(script=script, keep=True) as receiver:
        yield receiver


@pytest.fixture
def verdict_wait() -> float:
    """Seconds; a test can parametrise it."""
    return 20


@pytest.fixture
def rest_settings(sqlite_settings: Settings, verdict_wait: float) -> Settings:
    changes = {"max_body_bytes": 4000, "verdict_wait": verdict_wait, "wait_poll": 0.05, "queue_poll": 0.05}
    return sqlite_settings.model_copy(update=changes)


@pytest.fixture
async def sqlite_database(rest_settings: Settings) -> AsyncIterator[Settings]:
    await open_database(rest_settings)
    try:
        yield rest_settings
    finally:
        await close_database()


@pytest.fixture
async def service(sqlite_database: Settings, receiver: Receiver) -> Service:
    columns = {"kind": "SMTP", "host": receiver.host, "port": receiver.port, "from_email": "desk@example.com"}
    return await make_service("email", **columns)


@pytest.fixture
def app(rest_settings: Settings) -> Starlette:
    wakeup = Wakeup()
    engine = EmbeddedEngine(wakeup, rest_settings.queue_poll)
    submitter = Submitter(rest_settings, engine, wakeup)
    app = Starlette(
        routes=rest_routes(
            rest_endpoint(Sender(rest_settings, submitter, VerdictWaiter(wakeup, rest_settings.wait_poll)))
        )
    )
    app.state.engine, app.state.wakeup = engine, wakeup
    return app


@pytest.fixture
async def worker(app: Starlette, service: Service, rest_settings: Settings) -> AsyncIterator[None]:
    sealer = sealer_from(rest_settings)
    async with running_worker(rest_settings, sealer, app.state.engine, app.state.wakeup):
        yield


@pytest.fixture
async def key(sqlite_database: Settings) -> str:
    return await make_key()


@pytest.fixture
async def client(app: Starlette, key: str) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=True)
    headers = {"X-API-Key": key}
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test", headers=headers) as client:
        yield client


def error_of(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The error of a response that is the envelope, the whole envelope and nothing but the envelope."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["code", "context", "message", "status_code"]
    assert body["error"]["status_code"] == status
    error: dict[str, Any] = body["error"]
    assert isinstance(error["code"], int)
    assert error["context"] is None or isinstance(error["context"], dict)
    assert isinstance(error["message"], str)
    return error

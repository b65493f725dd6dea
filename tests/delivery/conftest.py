"""A queue with a service that leads to a receiver, and a database that can be made to refuse writing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.clock import now
from app.database.configuration import sqlite_path
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.delivery.uptime import Uptime
from app.domains.signing import ContentSigner
from app.inbox.receiver import Receiver, Script
from app.outbound.guard import LOOPBACK, Guard
from app.queue.claim import Claim, claim_message
from app.queue.embedded import EmbeddedEngine
from app.queue.put import put
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from app.smtp.pool import Pool
from app.smtp.server import Encryption, Server
from tests.factories import make_principal, make_service, new_message

Put = Callable[..., Awaitable[UUID]]
MakeAttempter = Callable[..., Attempter]
WritesRefused = Callable[[], AbstractAsyncContextManager[None]]

NEVER = 3600.0


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Where writing is to be refused, waiting for a lock ends soon; so does waiting for a connection."""
    if "writes_refused" not in request.fixturenames:
        return settings
    return settings.model_copy(update={"database_busy_timeout": 1.0})


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def receiver(script: Script) -> AsyncIterator[Receiver]:
    async with Receiver(script=script, keep=True) as receiver:
        yield receiver


@pytest.fixture
async def service(database: Settings, receiver: Receiver) -> Service:
    return await make_service("relay", kind="SMTP", host=receiver.host, port=receiver.port)


@pytest.fixture
def wakeup() -> Wakeup:
    return Wakeup()


@pytest.fixture
async def put_mail(service: Service, wakeup: Wakeup) -> Put:
    """Put a mail to these addresses, due now; returns its key."""
    principal = await make_principal()

    async def put_one(*emails: str, **fields: Any) -> UUID:
        message = new_message(service, principal, *emails, **fields)
        return (await put(message, now(), EmbeddedEngine(wakeup, 1))).message_id

    return put_one


def plain_server(service: Service) -> Server:
    assert service.host is not None
    assert service.port is not None
    return Server(service.host, service.port, Encryption.NONE, "client.example", guard=Guard(LOOPBACK))


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(max_connections=5, max_messages=100, idle_limit=25, noop_after=5)
    yield pool
    await pool.close()


@pytest.fixture
def make_attempter(pool: Pool, wakeup: Wakeup) -> MakeAttempter:
    def make(
        resolve: Callable[[Service], Server] = plain_server,
        *,
        renewal: float = NEVER,
        uptime: Uptime | None = None,
        signer: ContentSigner | None = None,
    ) -> Attempter:
        retry, lease = RetryPolicy((30,), 0.2, 3600), LeasePolicy(60, renewal, 0.01)
        return Attempter(new_key(), pool, resolve, retry, lease, wakeup, uptime=uptime, signer=signer)

    return make


@pytest.fixture
def attempter(make_attempter: MakeAttempter) -> Attempter:
    return make_attempter()


@pytest.fixture
def writes_refused(settings: Settings) -> WritesRefused:
    """`async with writes_refused():` whoever writes to the database meanwhile fails for now."""
    return lambda: _locked(settings.database_url)


@asynccontextmanager
async def _locked(url: str) -> AsyncIterator[None]:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(sqlite_path(url), isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()
        return
    import asyncpg

    session = await asyncpg.connect(url)
    try:
        async with session.transaction():
            await session.execute("LOCK TABLE message IN EXCLUSIVE MODE")
            yield
    finally:
        await session.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)


async def said(receiver: Receiver, verb: str) -> None:
    """Wait until a client has said this command."""

    async def heard() -> bool:
        return any(verb in session.verbs for session in receiver.sessions)

    await until(heard)


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until a line with this text was logged."""

    async def found() -> bool:
        return text in caplog.text

    await until(found)


async def taken_over(message_id: UUID) -> Claim:
    """Another worker claims the message, once the lease has ended."""
    claim = await claim_message(new_key(), message_id, now() + timedelta(minutes=10), 60)
    assert claim is not None
    return claim


async def looks(wakeup: Wakeup) -> bool:
    """Whether the engine was told that anything may be due."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            return await wakeup.wait_for_work(NEVER) is None
    return False

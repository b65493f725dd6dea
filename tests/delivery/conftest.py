"""A queue with a service that leads to a receiver, and a database that can be made to refuse writing."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from app.clock import now
from app.database.configuration import sqlite_path
from app.inbox.receiver import Receiver, Script
from app.queue.embedded import EmbeddedEngine
from app.queue.put import put
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from tests.factories import make_principal, make_service, new_message

Put = Callable[..., Awaitable[UUID]]
WritesRefused = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Waiting for a lock ends soon."""
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

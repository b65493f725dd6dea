"""A message changed: tell the processes that wait for it, through PostgreSQL's LISTEN and NOTIFY."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from app.database.connection import dialect, rows
from app.database.session import postgres_session
from app.database.trouble import log_trouble
from app.queue.wakeup import Wakeup
from app.settings import Settings

logger = logging.getLogger(__name__)

CHANNEL = "heliograph_message"


async def announce(message_id: UUID) -> None:
    """Tell every listening process that the message changed, once the open transaction commits.

    SQLite cannot: there, other processes find out by looking.
    """
    if dialect() == "postgres":
        await rows("SELECT pg_notify($1, $2)", CHANNEL, str(message_id))


Others = Mapping[str, Callable[[], None]]
"""Other channels, with what to call for each announcement there."""


@asynccontextmanager
async def listening(settings: Settings, wakeup: Wakeup, others: Others | None = None) -> AsyncIterator[None]:
    """Pass on to `wakeup`, and for `others`, what other processes announce while the block runs; the database must be
    open.

    Losing an announcement, or the connection, costs whoever waits a poll interval.
    """
    if dialect() != "postgres":
        yield
        return
    task = asyncio.create_task(_listen(settings, wakeup, others or {}))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listen(settings: Settings, wakeup: Wakeup, others: Others) -> None:
    while True:
        try:
            await _listen_once(settings, wakeup, others)
        except Exception as error:
            log_trouble(logger, error, "announcements cannot be heard; trying again")
        await asyncio.sleep(settings.wait_poll)


async def _listen_once(settings: Settings, wakeup: Wakeup, others: Others) -> None:
    def heard(connection: object, pid: int, channel: str, payload: str) -> None:
        wakeup.message_changed(UUID(payload))

    def heard_other(connection: object, pid: int, channel: str, payload: str) -> None:
        others[channel]()

    async with postgres_session(settings) as session:
        lost = asyncio.Event()
        session.add_termination_listener(lambda connection: lost.set())
        await session.add_listener(CHANNEL, heard)
        for channel in others:
            await session.add_listener(channel, heard_other)
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.worker_heartbeat):
                    await lost.wait()
            await session.execute("SELECT 1")  # a connection that broke silently shows now

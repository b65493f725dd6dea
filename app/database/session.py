"""A connection to PostgreSQL of its own, outside the pool: for what belongs to one session, as LISTEN does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from app.settings import Settings

if TYPE_CHECKING:
    import asyncpg

_CLOSE_TIMEOUT = 5


@asynccontextmanager
async def postgres_session(settings: Settings) -> "AsyncIterator[asyncpg.Connection]":
    """Connected while the block runs. Raises what asyncpg raises, and nothing when it only cannot say goodbye."""
    import asyncpg

    connection = await asyncpg.connect(
        settings.database_url,
        timeout=settings.database_busy_timeout,
        command_timeout=settings.database_command_timeout,
        server_settings={"application_name": "heliograph"},
    )
    try:
        yield connection
    finally:
        with suppress(Exception):
            await connection.close(timeout=_CLOSE_TIMEOUT)

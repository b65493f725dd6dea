"""A connection to SQLite that only reads: in WAL mode, no reader waits for who writes, or for its fsync."""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

import aiosqlite
from tortoise.exceptions import OperationalError

from app.database.finish import finish
from app.database.statement import fetched, translated


class Reader:
    """Opened at its first statement; it sees what was committed before that began. Statements wait their turn on its
    thread. `busy_timeout`: milliseconds."""

    def __init__(self, file_path: str, busy_timeout: int) -> None:
        self._path = file_path
        self._busy_timeout = busy_timeout
        self._opening: asyncio.Task[aiosqlite.Connection] | None = None
        self._closed = False

    async def fetch(self, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
        """The rows of one SELECT. Raises what the database raises, in Tortoise's words."""
        connection: Any = await self._connection()
        found: list[dict[str, Any]] = await connection._execute(fetched, connection._conn, sql, args)
        return found

    async def close(self) -> None:
        """For good."""
        self._closed = True
        if self._opening is not None:
            opening, self._opening = self._opening, None
            connection = await opening
            await connection.close()

    async def _connection(self) -> aiosqlite.Connection:
        if self._opening is None:
            if self._closed:
                raise OperationalError("the database is closed")
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._forget_failure)
        return await asyncio.shield(self._opening) if not self._opening.done() else self._opening.result()

    def _forget_failure(self, opening: asyncio.Task[aiosqlite.Connection]) -> None:
        if opening.cancelled() or opening.exception() is not None:
            self._opening = None

    async def _open(self) -> aiosqlite.Connection:
        connection = aiosqlite.connect(self._path, isolation_level=None)
        connection._thread.daemon = True
        try:
            await connection
            for pragma in (f"busy_timeout={self._busy_timeout}", "query_only=ON"):
                await connection.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException as error:
            await finish(connection.close())
            if isinstance(error, sqlite3.Error):
                raise translated(error) from error
            raise
        return connection

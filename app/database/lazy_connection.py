"""A connection to SQLite beside the one that writes: in WAL mode, neither waits for the other, or for its fsync."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar, cast

import aiosqlite
from tortoise.exceptions import OperationalError

from app.database.finish import finish
from app.database.statement import translated

T = TypeVar("T")


class LazyConnection:
    """Opened, with these pragmas, when it is first used. What it runs waits its turn on a thread of its own."""

    def __init__(self, file_path: str, **pragmas: object) -> None:
        self._path = file_path
        self._pragmas = pragmas
        self._opening: asyncio.Task[aiosqlite.Connection] | None = None
        self._closed = False

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """What `work` returns, which is given the connection and then `args`; what it raises. Where the connection
        cannot be opened, what the database raises, in Tortoise's words. Cancelled, `work` still runs to its end."""
        connection: Any = await self._connection()
        return cast(T, await connection._execute(work, connection._conn, *args))

    async def close(self) -> None:
        """For good, after what was to run before."""
        self._closed = True
        if self._opening is not None:
            opening, self._opening = self._opening, None
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                await opening.result().close()

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
            for pragma, value in self._pragmas.items():
                await connection.execute_fetchall(f"PRAGMA {pragma}={value}")
        except BaseException as error:
            await finish(connection.close())
            if isinstance(error, sqlite3.Error):
                raise translated(error) from error
            raise
        return connection

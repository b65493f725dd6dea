"""Checkpoints of SQLite's log, beside who writes.

By itself, SQLite copies a log that has become long into the database within the COMMIT that made it so, while all who
write wait. Here another connection copies it time and again, on a thread of its own, and they go on. So little is left
to the COMMIT; but that is needed: only a log that is copied to its end is begun anew, by who writes next.
"""

import asyncio
import logging
import os
import sqlite3
from contextvars import Context

from app.database.finish import settled
from app.database.lazy_connection import LazyConnection
from app.database.trouble import log_trouble

_log = logging.getLogger(__name__)


class Checkpointer:
    """A checkpoint begins after so many `commits`, unless one is under way. Where a reader still needs the log, or
    another process copies it, less is copied, and the next one goes on. One that fails is logged, unless the one before
    it failed, too. `busy_timeout`: milliseconds to wait for who just opens the database.
    """

    def __init__(self, file_path: str, busy_timeout: int, commits: int) -> None:
        self._path = file_path
        self._commits = commits
        self._connection = LazyConnection(file_path, busy_timeout=busy_timeout, synchronous="FULL")
        self._file: int | None = None
        self._counted = 0
        self._under_way: asyncio.Task[None] | None = None
        self._failed = False
        self._closed = False

    def count_commit(self) -> None:
        """Something was committed. Call it in the event loop."""
        self._counted += 1
        if self._counted >= self._commits and self._under_way is None and not self._closed:
            self._counted = 0
            # In a context of its own: it is nobody's work.
            self._under_way = asyncio.get_running_loop().create_task(self._checkpoint(), context=Context())

    async def close(self) -> None:
        """For good, once what is being copied is. Only after the other connections of this process to the file, whose
        locks the system frees where a descriptor of it is closed."""
        self._closed = True
        if self._under_way is not None:
            self._under_way.cancel()
            await settled(self._under_way)
        await self._connection.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def _checkpoint(self) -> None:
        try:
            await self._connection.run(self._copy)
            self._failed = False
        except Exception as error:
            if not self._failed:
                log_trouble(_log, error, "a checkpoint of the database failed; it is tried again")
            self._failed = True
        finally:
            self._under_way = None

    def _copy(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        # Where something was committed meanwhile, SQLite leaves fsync to the checkpoint that comes to the end.
        if self._file is None:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(self._file)

"""Checkpoints of SQLite's log, beside who writes.

By itself, SQLite copies a log that has become long into the database within the COMMIT that made it so, while all who
write wait. Here another connection copies it time and again, on a thread of its own, and they go on. What is committed
meanwhile it leaves; but only a log that is copied to its end is begun anew, by who writes next. So once it is long,
this process writes nothing for as long as the little that is left takes.

No other checkpoints are made, one at a time over all processes, and none of a log that is copied already. For SQLite
before 3.51.3 (but for 3.50.7 and 3.44.6) loses commits where somebody begins the log anew at the very moment at which a
checkpoint begins (https://sqlite.org/wal.html#walresetbug); and a log that is not copied to its end nobody begins anew.
"""

import asyncio
import fcntl
import logging
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context

from app.database.finish import settled
from app.database.lazy_connection import LazyConnection
from app.database.trouble import log_trouble

_log = logging.getLogger(__name__)

# In the WAL-index (https://sqlite.org/walformat.html): how many frames the log has, and how many of them are copied.
_FRAMES_AT = 16
_COPIED_AT = 96


class Checkpointer:
    """A checkpoint begins after so many `commits`, unless one is under way here or in another process. Where a reader
    still needs the log, less is copied, and the next one goes on. One that fails is logged, unless the one before it
    failed, too. `busy_timeout`: milliseconds to wait for who just opens the database. `pages`: from so many in the log
    on it is copied to its end; in the block of `quiet` this process writes nothing.
    """

    def __init__(
        self,
        file_path: str,
        busy_timeout: int,
        commits: int,
        pages: int,
        quiet: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._path = file_path
        self._commits = commits
        self._pages = pages
        self._quiet = quiet
        self._connection = LazyConnection(file_path, busy_timeout=busy_timeout, synchronous="FULL")
        self._files: list[int] = []
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
        while self._files:
            os.close(self._files.pop())

    async def _checkpoint(self) -> None:
        try:
            if await self._connection.run(self._copy):
                async with self._quiet():
                    await self._connection.run(self._copy)
            self._failed = False
        except Exception as error:
            if not self._failed:
                log_trouble(_log, error, "a checkpoint of the database failed; it is tried again")
            self._failed = True
        finally:
            self._under_way = None

    def _copy(self, connection: sqlite3.Connection) -> bool:
        """Whether the log is long, and some of it is left."""
        database, index = self._opened()
        try:
            fcntl.flock(database, fcntl.LOCK_EX | fcntl.LOCK_NB)  # SQLite's own locks are others
        except BlockingIOError:
            return False
        try:
            if not _is_behind(index):
                return False
            _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            fcntl.flock(database, fcntl.LOCK_UN)
        # Where something was committed meanwhile, SQLite leaves fsync to the checkpoint that comes to the end.
        os.fsync(database)
        return bool(frames >= self._pages) and _is_behind(index)

    def _opened(self) -> list[int]:
        """The database and its WAL-index."""
        for path in (self._path, f"{self._path}-shm")[len(self._files) :]:
            self._files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return self._files


def _is_behind(index: int) -> bool:
    """Whether the log has frames that are not copied; then, as long as no other checkpoint is made, nobody begins it
    anew."""
    copied, frames = (int.from_bytes(os.pread(index, 4, place), sys.byteorder) for place in (_COPIED_AT, _FRAMES_AT))
    return copied < frames

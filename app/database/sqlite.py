"""Tortoise's SQLite client, made safe against cancellation and against other processes.

A transaction begins IMMEDIATE: a deferred one that reads and then writes fails at once with "database is locked"
when another process wrote in between. The connection's thread works through a queue in order, so a ROLLBACK queued
behind a statement whose waiting task was cancelled always undoes that statement.
"""

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, TypeVar, cast
from uuid import UUID

import aiosqlite
from tortoise.backends.base.client import (
    ConnectionWrapper,
    NestedTransactionContext,
    TransactionalDBClient,
    TransactionContext,
)
from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionWrapper
from tortoise.connection import get_connections
from tortoise.exceptions import DBConnectionError, TransactionManagementError

from app.database.checkpoint import Checkpointer
from app.database.finish import finish
from app.database.group_commit import GroupCommit, Work, running_unit
from app.database.lazy_connection import LazyConnection
from app.database.priority_lock import PriorityLock
from app.database.statement import fetched, numbered, touched, translated
from app.database.values import key_text, moment_text

T = TypeVar("T")


def _itself(value: T) -> T:
    return value


# These replace what Tortoise registers, which keeps whatever offset a moment came with.
sqlite3.register_adapter(datetime, moment_text)
sqlite3.register_adapter(UUID, key_text)
# These change nothing: without an adapter, sqlite3 takes longer to find that there is none than for all the rest.
sqlite3.register_adapter(type(None), _itself)
sqlite3.register_adapter(bytes, _itself)
sqlite3.register_adapter(bool, int)


class _PlainSql(SqliteClient):
    """Statements written with $1, $2 … for either database."""

    async def fetch(self, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
        """The rows of one statement."""
        return await self._on_thread(fetched, sql, args)

    async def run(self, sql: str, args: Sequence[Any]) -> int:
        """How many rows one INSERT, UPDATE or DELETE without RETURNING touched, not counting cascades."""
        return await self._on_thread(touched, sql, args)

    async def _on_thread(
        self, statement: Callable[[sqlite3.Connection, str, Sequence[Any]], T], sql: str, args: Sequence[Any]
    ) -> T:
        async with self.acquire_connection() as lent:
            connection: Any = lent
            return cast(T, await connection._execute(statement, connection._conn, sql, args))

    async def run_many(self, sql: str, args: Sequence[Sequence[Any]]) -> None:
        """One statement once for each of `args`: all of them, or none."""
        await self.execute_many(numbered(sql), list(args))


_PREPARED = 512
"""Statements that stay prepared: those that insert several rows are one for each number of them."""

_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "WITH"})


@lru_cache(maxsize=1024)
def _kind(sql: str) -> str:
    """The word that the statement begins with."""
    return sql.split(maxsplit=1)[0].upper()


class Client(_PlainSql):
    """One connection with its thread, lent to one transaction or one statement at a time.

    `busy_timeout`: milliseconds to wait for the lock of another process, and to wait here for the connection: while
    another process holds its lock, each that comes would else wait for all who came before it. `checkpoint_commits`,
    `checkpoint_pages`: see Checkpointer; what shares a commit counts as one.
    """

    def __init__(
        self, file_path: str, busy_timeout: int, checkpoint_commits: int, checkpoint_pages: int, **pragmas: Any
    ) -> None:
        super().__init__(file_path, busy_timeout=busy_timeout, **pragmas)
        self._patience = busy_timeout / 1000
        self._lock: PriorityLock = PriorityLock()
        self._closed = False
        self._reader = LazyConnection(file_path, busy_timeout=busy_timeout, query_only="ON")
        self._checkpointer = Checkpointer(file_path, busy_timeout, checkpoint_commits, checkpoint_pages, self._quiet)
        self._group_commit = GroupCommit(self, self._checkpointer.count_commit)

    async def borrow(self, *, urgent: bool = False) -> None:
        """Take the lock under which the connection is used. Raises TimeoutError when it is not free in time."""
        async with asyncio.timeout(self._patience):
            await self._lock.acquire(urgent=urgent)

    def borrow_at_once(self) -> bool:
        """Whether it is taken: where it is free, and the connection is open."""
        return self._connection is not None and not self._closed and self._lock.acquire_at_once()

    def give_back(self) -> None:
        """Let the next one have what was borrowed."""
        self._lock.release()

    @asynccontextmanager
    async def _quiet(self) -> AsyncIterator[None]:
        """In this block nothing is written by this connection."""
        await self.borrow(urgent=True)
        try:
            yield
        finally:
            self.give_back()

    def begin_on_thread(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Let it run on the connection's thread; the connection is open and borrowed. Nobody waits for `work`, which
        tells by itself when it has ended, and raises nothing."""
        connection: Any = self._connection
        connection._tx.put_nowait((None, partial(work, connection._conn)))

    async def in_transaction(self, work: Work[T], *, urgent: bool = False) -> T:
        """See connection.in_transaction."""
        return await self._group_commit.run(work, urgent=urgent)

    async def fetch(self, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
        """See connection.rows. A SELECT waits for no commit: it has a connection of its own to read by."""
        kind = _kind(sql)
        if kind == "SELECT":
            return await self._reader.run(fetched, sql, args)
        if kind in _CHANGES:
            return await self._group_commit.run(lambda: running_unit().fetch(sql, args))
        return await super().fetch(sql, args)

    async def run(self, sql: str, args: Sequence[Any]) -> int:
        """See connection.execute."""
        if _kind(sql) in _CHANGES:
            return await self._group_commit.run(lambda: running_unit().run(sql, args))
        return await super().run(sql, args)

    def acquire_connection(self) -> ConnectionWrapper[aiosqlite.Connection]:
        return _Lent(self._lock, self)

    def _in_transaction(self) -> TransactionContext:
        return _TransactionContext(self, self._lock)

    async def create_connection(self, with_db: bool) -> None:
        """Open the file, unless it is open; make it for its owner only. Raises DBConnectionError once closed."""
        if self._closed:
            raise DBConnectionError("the database is closed")
        if self._connection is None:
            self._connection = await finish(self._connect())

    async def _connect(self) -> aiosqlite.Connection:
        _make_private_file(self.filename)
        connection = aiosqlite.connect(self.filename, isolation_level=None, cached_statements=_PREPARED)
        # A process that fails before it has closed the database must still be able to exit.
        connection._thread.daemon = True
        try:
            await connection
            connection.row_factory = sqlite3.Row
            for pragma, value in self.pragmas.items():
                await connection.execute_fetchall(f"PRAGMA {pragma}={value}")
            await self._post_connect()
        except sqlite3.Error as error:
            await connection.close()
            raise translated(error) from error
        return connection

    async def close(self) -> None:
        """Close for good, after what was queued before. A task that comes late opens nothing again."""
        self._closed = True
        await finish(self._close())

    async def _close(self) -> None:
        await self._reader.close()
        await super().close()
        await self._checkpointer.close()

    async def execute_many(self, query: str, values: list[Any]) -> None:
        async with self._in_transaction() as transaction:
            await transaction.execute_many(query, values)


def _make_private_file(path: str) -> None:
    """SQLite gives the files beside it, -wal and -shm, the same mode. What is wrong with the path, SQLite reports.

    O_EXCL also because closing a file that is open already would free the locks that this process has on it.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


class Transaction(_PlainSql, SqliteTransactionWrapper):
    """What models and plain SQL talk to inside a transaction; refuses to be used once the transaction is over."""

    def acquire_connection(self) -> ConnectionWrapper[aiosqlite.Connection]:
        if self._finalized:
            raise TransactionManagementError("the transaction is over; this task was started inside it")
        return ConnectionWrapper(self._lock, self)

    def _in_transaction(self) -> TransactionContext:
        return NestedTransactionContext(Transaction(self))

    async def in_transaction(self, work: Work[T], *, urgent: bool = False) -> T:
        """A part of the transaction that it stands in."""
        async with self._in_transaction():
            return await work()

    async def begin(self) -> None:
        """Take the write lock, waiting for it as long as busy_timeout says."""
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
        except asyncio.CancelledError:
            await finish(self._connection.rollback())
            raise
        except sqlite3.Error as error:
            raise translated(error) from error

    async def commit(self) -> None:
        """Commit; what cannot be committed is rolled back."""
        try:
            await self._connection.commit()
        except BaseException as error:
            await finish(self._connection.rollback())
            if isinstance(error, sqlite3.Error):
                raise translated(error) from error
            raise
        finally:
            self._finalized = True

    async def rollback(self) -> None:
        """Undo everything, also when cancelled."""
        self._finalized = True
        await finish(self._connection.rollback())

    async def execute_script(self, query: str) -> None:
        """Run the statements of a script one by one: SQLite's own executescript would commit the transaction."""
        statement = ""
        for piece in re.split(r"(?<=;)", query):
            statement += piece
            if sqlite3.complete_statement(statement):
                await self.execute_query(statement)
                statement = ""
        if statement.strip():
            await self.execute_query(statement)


class _Lent(ConnectionWrapper[aiosqlite.Connection]):
    """The connection for one statement. Gives the lock back also when connecting fails."""

    client: Client

    async def __aenter__(self) -> aiosqlite.Connection:
        await self.client.borrow()
        try:
            # Read again: another task may have opened or closed the connection while this one waited.
            self.connection = cast(aiosqlite.Connection, self.client._connection)
            await self.ensure_connection()
        except BaseException:
            self._lock.release()
            raise
        return self.connection


class _TransactionContext(TransactionContext):
    """Holds the client's lock from before BEGIN until after COMMIT or ROLLBACK, whatever is cancelled meanwhile."""

    def __init__(self, parent: Client, lock: PriorityLock) -> None:
        self._parent = parent
        self._lock = lock

    async def __aenter__(self) -> TransactionalDBClient:
        await self._parent.borrow()
        try:
            await self._parent.create_connection(with_db=True)
            self._transaction = Transaction(self._parent)
            await self._transaction.begin()
            self._connections = get_connections()
            self._token = self._connections.set(self._parent.connection_name, self._transaction)
        except BaseException:
            self._lock.release()
            raise
        return self._transaction

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._connections.reset(self._token)
            if not self._transaction._finalized:
                if exc_type is None:
                    await self._transaction.commit()
                    self._parent._checkpointer.count_commit()
                else:
                    await self._transaction.rollback()
        finally:
            self._lock.release()


client_class = Client

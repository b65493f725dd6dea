"""Tortoise's asyncpg client, made safe against cancellation: a slot of the pool always comes back."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

import asyncpg
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import (
    ConnectionWrapper,
    NestedTransactionContext,
    PoolConnectionWrapper,
    TransactionalDBClient,
    TransactionContext,
)
from tortoise.backends.base_postgres.client import translate_exceptions
from tortoise.connection import get_connections
from tortoise.exceptions import DBConnectionError, TransactionManagementError

from app.database.finish import finish

T = TypeVar("T")


class _PlainSql(AsyncpgDBClient):
    """Statements written with $1, $2 … for either database."""

    @translate_exceptions
    async def fetch(self, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
        """The rows of one statement."""
        async with self.acquire_connection() as connection:
            return [dict(row) for row in await connection.fetch(sql, *args)]

    @translate_exceptions
    async def run(self, sql: str, args: Sequence[Any]) -> int:
        """How many rows one INSERT, UPDATE or DELETE touched, not counting cascades."""
        async with self.acquire_connection() as connection:
            status: str = await connection.execute(sql, *args)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    @translate_exceptions
    async def run_many(self, sql: str, args: Sequence[Sequence[Any]]) -> None:
        """One statement once for each of `args`: all of them, or none."""
        async with self.acquire_connection() as connection:
            await connection.executemany(sql, args)

    async def in_transaction(self, work: Callable[[], Coroutine[Any, Any, T]], *, urgent: bool = False) -> T:
        """See connection.in_transaction."""
        async with self._in_transaction():
            return await work()


class Client(_PlainSql):
    """A pool of connections. `busy_timeout`: seconds to wait for a free one, and for any lock."""

    def __init__(self, dsn: str, busy_timeout: float, command_timeout: float | None, **options: Any) -> None:
        super().__init__(**options)
        self._dsn = dsn
        self._busy_timeout = busy_timeout
        self._command_timeout = command_timeout
        self._closed = False

    def acquire_connection(self) -> PoolConnectionWrapper[asyncpg.Connection]:
        return _Lent(self, self._pool_init_lock)

    def _in_transaction(self) -> TransactionContext:
        return _TransactionContext(self)

    async def in_transaction(self, work: Callable[[], Coroutine[Any, Any, T]], *, urgent: bool = False) -> T:
        """See connection.in_transaction."""
        return await finish(super().in_transaction(work))

    async def create_connection(self, with_db: bool) -> None:
        """Open the pool, unless it is open. Raises DBConnectionError once the client was closed; what asyncpg raises
        otherwise."""
        async with self._pool_init_lock:
            if self._closed:
                raise DBConnectionError("the database is closed")
            if self._pool is None:
                self._pool = await finish(self._connect())
                await self._post_connect()

    async def _connect(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self._dsn,
            min_size=self.pool_minsize,
            max_size=self.pool_maxsize,
            timeout=self._busy_timeout,
            command_timeout=self._command_timeout,
            server_settings={"application_name": "heliograph", "lock_timeout": str(int(self._busy_timeout * 1000))},
            reset=_keep_session,
        )

    async def borrow(self) -> asyncpg.Connection:
        """A connection of the pool, to be given back. Raises TimeoutError when none gets free in time."""
        pool = self._pool or await self._open_pool()
        async with asyncio.timeout(self._busy_timeout):
            return await pool.acquire()

    async def _open_pool(self) -> asyncpg.Pool:
        await self.create_connection(with_db=True)
        return self._pool

    async def give_back(self, connection: asyncpg.Connection) -> None:
        """Return what `borrow` lent; when cancelled too, because asyncpg shields its release. One whose statement was
        broken off, and whose server does not confirm that in time, is closed."""
        if self._pool is not None:
            await self._pool.release(connection, timeout=self._busy_timeout)

    async def close(self) -> None:
        """Close for good. A task that comes late opens nothing again."""
        self._closed = True
        await finish(super().close())

    async def execute_many(self, query: str, values: list[Any]) -> None:
        await self.run_many(query, values)


class Transaction(_PlainSql, TransactionWrapper):
    """What models and plain SQL talk to inside a transaction; refuses to be used once the transaction is over."""

    def acquire_connection(self) -> ConnectionWrapper[asyncpg.Connection]:
        if self._finalized:
            raise TransactionManagementError("the transaction is over; this task was started inside it")
        return ConnectionWrapper(self._lock, self)

    def _in_transaction(self) -> TransactionContext:
        return NestedTransactionContext(Transaction(self))


class _Lent(PoolConnectionWrapper[asyncpg.Connection]):
    """A connection for one statement."""

    client: Client

    async def __aenter__(self) -> asyncpg.Connection:
        self.connection = await self.client.borrow()
        return self.connection

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.client.give_back(self.connection)


class _TransactionContext(TransactionContext):
    """Holds one connection of the pool from before BEGIN until after COMMIT or ROLLBACK."""

    def __init__(self, parent: Client) -> None:
        self._parent = parent

    async def __aenter__(self) -> TransactionalDBClient:
        connection = await self._parent.borrow()
        self._transaction = Transaction(self._parent)
        self._transaction._connection = connection
        try:
            await finish(self._transaction.begin())
            self._connections = get_connections()
            self._token = self._connections.set(self._parent.connection_name, self._transaction)
        except BaseException:
            await finish(self._abandon())
            raise
        return self._transaction

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._connections.reset(self._token)
            if not self._transaction._finalized:
                await finish(self._transaction.commit() if exc_type is None else self._transaction.rollback())
        finally:
            self._transaction._finalized = True
            await self._parent.give_back(self._transaction._connection)

    async def _abandon(self) -> None:
        try:
            if self._transaction._connection.is_in_transaction():
                await self._transaction.rollback()
        finally:
            await self._parent.give_back(self._transaction._connection)


async def _keep_session(connection: asyncpg.Connection) -> None:
    """Given instead of asyncpg's RESET ALL, which would cost a round trip each time: nothing here changes a session."""


client_class = Client

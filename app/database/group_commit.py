"""Group commit on SQLite: what many tasks want written shares one transaction, and so one fsync.

A unit of work is a coroutine function that waits for nothing but this database's plain SQL. It runs on the connection's
thread, from its beginning to its end, without a way back to the event loop between two statements. While one group is
being committed, the next one gathers. Each unit has its savepoint: one that fails undoes itself alone.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import field

from app.database.finish import Pending, begin_next
from app.database.insert import Insert, Rows
from app.database.statement import fetched, listed, numbered, touched, translated

if TYPE_CHECKING:
    from app.database.sqlite import Client

T = TypeVar("T")

Work = Callable[[], Coroutine[Any, Any, T]]

_MOST_AT_ONCE = 256

current_unit: ContextVar["Unit | None"] = ContextVar("unit", default=None)
"""The unit of work that the running code belongs to, on SQLite."""


class GroupCommit:
    """The units of work of one connection. The urgent ones of a group run first. `committed` is called after each.

    Who is told of the end of a group goes on before the next one begins: so what it wants next shares that commit, and
    does not wait for it. Whoever else waits for the connection has it first.
    """

    def __init__(self, client: "Client", committed: Callable[[], None]) -> None:
        self._client = client
        self._committed = committed
        self._urgent: deque[_Entry[Any]] = deque()
        self._patient: deque[_Entry[Any]] = deque()
        self._is_busy = False
        self._in_turn: asyncio.Task[None] | None = None

    async def run(self, work: Work[T], *, urgent: bool = False) -> T:
        """The result of `work`, once it is committed; raises what it raised, nothing of it written then.

        Cancelled while it waits, it never runs; once begun, it runs to its end, and then the cancellation is raised.
        """
        entry = _Entry(work=work)
        (self._urgent if urgent else self._patient).append(entry)
        if not self._is_busy:
            self._is_busy = True
            # Not at once: who is woken in this turn of the event loop shares the commit.
            asyncio.get_running_loop().call_soon(self._begin)
        return await entry.wait()

    def _begin(self) -> None:
        """The next group, at once where the connection is free: a task of its own takes longer than all the rest."""
        if self._client.borrow_at_once():
            self._begin_borrowed()
        else:
            # In a context of its own: it goes on for others than the one who happened to begin it.
            self._in_turn = asyncio.get_running_loop().create_task(self._begin_in_turn(), context=Context())

    async def _begin_in_turn(self) -> None:
        try:
            await self._client.borrow(urgent=bool(self._urgent))
            try:
                await self._client.create_connection(with_db=True)
            except BaseException:
                self._client.give_back()
                raise
        except BaseException as error:
            group = self._next_group()
            _fail(group, error)
            _tell(group)
            self._go_on()
            if not isinstance(error, Exception):
                raise
        else:
            self._begin_borrowed()

    def _begin_borrowed(self) -> None:
        group = self._next_group()
        if group:
            self._client.begin_on_thread(partial(self._run_on_thread, group, asyncio.get_running_loop()))
        else:
            self._give_back()

    def _run_on_thread(
        self, group: Sequence["_Entry[Any]"], loop: asyncio.AbstractEventLoop, connection: sqlite3.Connection
    ) -> None:
        try:
            _run_group(connection, group)
        except BaseException as error:
            _fail(group, error)
        loop.call_soon_threadsafe(self._end, group)

    def _end(self, group: Sequence["_Entry[Any]"]) -> None:
        _tell(group)
        self._committed()
        self._give_back()

    def _give_back(self) -> None:
        self._client.give_back()
        self._go_on()

    def _go_on(self) -> None:
        """With those that have come meanwhile, or come in this turn of the event loop."""
        if self._urgent or self._patient:
            asyncio.get_running_loop().call_soon(self._begin)
        else:
            self._is_busy = False

    def _next_group(self) -> list["_Entry[Any]"]:
        group = begin_next(self._urgent, _MOST_AT_ONCE)
        return group + begin_next(self._patient, _MOST_AT_ONCE - len(group))


def _fail(group: Sequence["_Entry[Any]"], error: BaseException) -> None:
    for entry in group:
        entry.error = entry.error or error


def _tell(group: Sequence["_Entry[Any]"]) -> None:
    for entry in group:
        entry.tell(entry.result if entry.error is None else entry.error)


class Unit:
    """What plain SQL talks to inside a unit of work: each statement runs at once, on the thread that this is."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._depth = 0

    async def fetch(self, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
        """The rows of one statement."""
        return fetched(self._connection, sql, args)

    async def tuples(self, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of one statement, without the names of their columns."""
        return listed(self._connection, sql, args)

    async def run(self, sql: str, args: Sequence[Any]) -> int:
        """How many rows one INSERT, UPDATE or DELETE without RETURNING touched, not counting cascades."""
        return touched(self._connection, sql, args)

    async def run_many(self, sql: str, args: Sequence[Sequence[Any]]) -> int:
        """One statement once for each of `args`; how many rows that touched in all."""
        try:
            return max(self._connection.executemany(numbered(sql), args).rowcount, 0)
        except sqlite3.Error as error:
            raise translated(error) from error

    async def insert(self, parts: Sequence[tuple[Insert, Rows]]) -> None:
        """A row for each of the values."""
        execute = self._connection.cursor().execute  # the connection's would make a cursor for each statement
        try:
            for into, values in parts:
                for sql, args in into.in_chunks(values):
                    execute(sql, args)
        except sqlite3.Error as error:
            raise translated(error) from error

    async def data_version(self) -> Hashable:
        """See connection.data_version. Each connection counts for itself, and no ROLLBACK."""
        ((version,),) = listed(self._connection, "PRAGMA data_version", ())
        return self._connection, version, _rollbacks.count

    def transaction(self) -> "_Savepoint":
        """A transaction inside the unit's."""
        self._depth += 1
        return _Savepoint(self._connection, f"inner_{self._depth}")


@dataclass(slots=True)
class _Rollbacks:
    """How often something was undone, by whichever connection."""

    count: int = 0


_rollbacks = _Rollbacks()


def running_unit() -> Unit:
    """The unit of work that calls this."""
    unit = current_unit.get()
    assert unit is not None, "it runs in one"
    return unit


class _Savepoint:
    """`async with`: undone by any exception."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def __aenter__(self) -> None:
        self._connection.execute(f"SAVEPOINT {self._name}")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            _rollbacks.count += 1
            self._connection.execute(f"ROLLBACK TO {self._name}")
        self._connection.execute(f"RELEASE {self._name}")


class _Entry(Pending[T], kw_only=True, eq=False):
    """One unit, whose turn comes; and what came of it."""

    work: Work[T]
    context: Context = field(default_factory=copy_context)
    result: Any = None
    error: BaseException | None = None


def _run_group(connection: sqlite3.Connection, group: Sequence[_Entry[Any]]) -> None:
    """On the connection's thread. Raises what the transaction as a whole came to nothing by: nobody's work is done."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        if len(group) == 1:  # its transaction undoes it; a savepoint would keep a copy of each page that it changes
            _run_entry(connection, group[0])
        else:
            for entry in group:
                _run_in_savepoint(connection, entry)
        connection.execute("COMMIT")
    except BaseException as error:
        _rollbacks.count += 1
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise translated(error) from error
        raise


def _run_in_savepoint(connection: sqlite3.Connection, entry: _Entry[Any]) -> None:
    connection.execute("SAVEPOINT unit")
    try:
        _run_entry(connection, entry)
    except BaseException as error:
        if not connection.in_transaction:  # SQLite undid all of it: the disk is full, say
            raise
        entry.error = error
        _rollbacks.count += 1
        connection.execute("ROLLBACK TO unit")
    connection.execute("RELEASE unit")


def _run_entry(connection: sqlite3.Connection, entry: _Entry[Any]) -> None:
    entry.result = entry.context.run(_run_to_end, entry.work, connection)


def _run_to_end(work: Work[T], connection: sqlite3.Connection) -> T:
    current_unit.set(Unit(connection))
    running = work()
    try:
        running.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    running.close()
    raise RuntimeError("a unit of work waited for something else than plain SQL")

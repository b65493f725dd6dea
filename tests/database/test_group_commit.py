"""Units of work: on SQLite many share a commit; on both databases, one that fails undoes itself alone."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

import pytest
from tortoise.exceptions import DBConnectionError, IntegrityError, OperationalError

from app.clock import now
from app.database import group_commit
from app.database.configuration import sqlite_path
from app.database.connection import (
    close_database,
    dialect,
    execute,
    execute_many,
    in_transaction,
    is_transient,
    open_database,
    rows,
    transaction,
)
from app.database.key import new_key
from app.settings import Settings
from tests.statements import told

INSERT = "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, 'host', $2, $3, $3)"


def insert(pid: int) -> Callable[[], Coroutine[Any, Any, int]]:
    async def work() -> int:
        await execute(INSERT, new_key(), pid, now())
        return pid

    return work


async def pids() -> list[int]:
    return [row["pid"] for row in await rows("SELECT pid FROM worker ORDER BY pid")]


async def test_each_gets_what_its_work_returns(database: Settings) -> None:
    assert await asyncio.gather(*(in_transaction(insert(pid)) for pid in range(50))) == list(range(50))
    assert await pids() == list(range(50))


async def test_one_that_fails_undoes_itself_alone(database: Settings) -> None:
    async def fail() -> None:
        await insert(7)()
        raise LookupError("of mine")

    async def violate() -> None:
        await insert(8)()
        await execute(INSERT, key := new_key(), 9, now())
        await execute(INSERT, key, 9, now())

    outcomes = await asyncio.gather(
        in_transaction(insert(1)),
        in_transaction(fail),
        in_transaction(violate),
        in_transaction(insert(2)),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["int", "LookupError", "IntegrityError", "int"]
    assert await pids() == [1, 2]


async def test_the_first_that_fails_undoes_itself_alone(database: Settings) -> None:
    async def fail() -> None:
        await insert(7)()
        raise LookupError

    outcomes = await asyncio.gather(
        in_transaction(fail), in_transaction(fail), in_transaction(insert(1)), return_exceptions=True
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["LookupError", "LookupError", "int"]
    assert await pids() == [1]


async def test_one_that_fails_alone_leaves_nothing(database: Settings) -> None:
    async def fail() -> None:
        await insert(7)()
        await execute(INSERT, key := new_key(), 9, now())
        await execute(INSERT, key, 9, now())

    with pytest.raises(IntegrityError):
        await in_transaction(fail)
    assert await pids() == []
    assert await in_transaction(insert(1)) == 1
    assert await pids() == [1]


async def test_a_unit_inside_a_unit_or_a_transaction_is_a_savepoint(database: Settings) -> None:
    async def fail() -> None:
        await insert(3)()
        raise LookupError

    async def outer() -> None:
        await insert(1)()
        with pytest.raises(LookupError):
            await in_transaction(fail)
        async with transaction():
            await execute_many(INSERT, [(new_key(), 4, now()), (new_key(), 5, now())])
        with pytest.raises(LookupError):
            async with transaction():
                await fail()

    await in_transaction(outer)
    async with transaction():
        await in_transaction(insert(6))
        with pytest.raises(LookupError):
            await in_transaction(fail)
    assert await pids() == [1, 4, 5, 6]


async def test_those_that_come_together_share_a_commit(sqlite_database: Settings) -> None:
    async with told() as statements:
        await asyncio.gather(*(in_transaction(insert(pid)) for pid in range(100)))
    assert statements.count("COMMIT") <= 2
    assert len(await pids()) == 100


async def test_the_urgent_ones_of_a_group_run_first(sqlite_database: Settings) -> None:
    order: list[int] = []

    def note(pid: int) -> Callable[[], Coroutine[Any, Any, None]]:
        async def work() -> None:
            order.append(pid)

        return work

    async with transaction():
        waiting = [
            asyncio.create_task(in_transaction(note(pid), urgent=pid > 2), context=Context()) for pid in range(5)
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == [3, 4, 0, 1, 2]


async def test_who_is_cancelled_while_waiting_writes_nothing(database: Settings) -> None:
    async with transaction():
        waiting = [asyncio.create_task(in_transaction(insert(pid)), context=Context()) for pid in range(3)]
        await asyncio.sleep(0)
        if dialect() == "sqlite":
            waiting[1].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [pid for pid in outcomes if isinstance(pid, int)] == await pids()
    assert len(await pids()) == (2 if dialect() == "sqlite" else 3)


async def test_who_is_cancelled_once_it_began_is_committed(sqlite_database: Settings) -> None:
    began, go_on = threading.Event(), threading.Event()

    async def work() -> None:
        began.set()
        assert go_on.wait(10)
        await insert(1)()

    task = asyncio.create_task(in_transaction(work))
    assert await asyncio.to_thread(began.wait, 10)
    task.cancel()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pids() == [1]


async def test_a_unit_that_waits_for_something_else_is_refused(sqlite_database: Settings) -> None:
    async def work() -> None:
        await insert(1)()
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="something else"):
        await in_transaction(work)
    assert await pids() == []


async def test_a_group_that_cannot_begin_tells_all_of_it(sqlite_settings: Settings) -> None:
    await open_database(sqlite_settings.model_copy(update={"database_busy_timeout": 0.05}))
    other = sqlite3.connect(sqlite_path(sqlite_settings.database_url), isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        outcomes = await asyncio.gather(*(in_transaction(insert(pid)) for pid in range(3)), return_exceptions=True)
        assert all(isinstance(outcome, OperationalError) and is_transient(outcome) for outcome in outcomes)
        other.execute("ROLLBACK")
        await in_transaction(insert(4))
        assert await pids() == [4]
    finally:
        other.close()
        await close_database()


async def test_a_commit_that_fails_is_nobodys_success(sqlite_database: Settings) -> None:
    """A deferred foreign key is checked at the commit alone."""
    await execute("CREATE TABLE part (of TEXT REFERENCES worker (id) DEFERRABLE INITIALLY DEFERRED)")

    async def orphan() -> None:
        await execute("INSERT INTO part VALUES ('nobody')")

    async with transaction():
        waiting = [
            asyncio.create_task(in_transaction(work), context=Context()) for work in (insert(1), orphan, insert(2))
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [IntegrityError] * 3
    assert await pids() == []


async def test_each_has_its_own_result_however_many_groups_follow_each_other(database: Settings) -> None:
    async def one_after_the_other(first: int) -> None:
        for pid in range(first, first + 20):
            assert await in_transaction(insert(pid), urgent=pid % 3 == 0) == pid
            with pytest.raises(IntegrityError):
                await in_transaction(lambda: execute("INSERT INTO worker (id) VALUES (NULL)"))

    async def in_transactions_of_their_own() -> None:
        for pid in range(1000, 1010):
            async with transaction():
                await insert(pid)()

    await asyncio.gather(*(one_after_the_other(first) for first in range(0, 200, 20)), in_transactions_of_their_own())
    assert await pids() == [*range(200), *range(1000, 1010)]


class OnTheThread:
    """A unit of work that stays on the database's thread until it may go on."""

    def __init__(self) -> None:
        self._begun, self._may_end = threading.Event(), threading.Event()

    async def __call__(self) -> int:
        self._begun.set()
        self._may_end.wait(60)
        return await insert(1)()

    async def begin(self) -> asyncio.Task[int]:
        running = asyncio.create_task(in_transaction(self), context=Context())
        await self.begun()
        return running

    async def begun(self) -> None:
        await asyncio.to_thread(self._begun.wait, 60)

    def end(self) -> None:
        self._may_end.set()


async def test_who_is_told_of_a_group_goes_on_in_the_next_one(
    sqlite_database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, run_group = [], group_commit._run_group

    def counted(connection: sqlite3.Connection, group: Sequence[Any]) -> None:
        groups.append(len(group))
        run_group(connection, group)

    first = OnTheThread()

    async def go_on() -> int:
        await in_transaction(first)
        return await in_transaction(insert(3))

    monkeypatch.setattr(group_commit, "_run_group", counted)
    going_on = asyncio.create_task(go_on(), context=Context())
    await first.begun()
    second = asyncio.create_task(in_transaction(insert(2)), context=Context())
    await asyncio.sleep(0)
    first.end()
    assert (await going_on, await second) == (3, 2)
    assert groups == [1, 2]


async def test_a_group_is_told_of_any_trouble(sqlite_database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: sqlite3.Connection, group: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(group_commit, "_run_group", broken)
        with pytest.raises(RuntimeError, match="broken"):
            await in_transaction(insert(1))
    assert await in_transaction(insert(2)) == 2
    assert await pids() == [2]


async def test_whoever_else_wants_the_connection_has_it_before_the_next_group(sqlite_database: Settings) -> None:
    order: list[str] = []

    async def other() -> None:
        async with transaction():
            order.append("another")

    async def late() -> None:
        order.append("the next group")

    first = OnTheThread()
    running = await first.begin()
    waiting = [asyncio.create_task(work, context=Context()) for work in (other(), in_transaction(late))]
    await asyncio.sleep(0)
    first.end()
    await asyncio.gather(running, *waiting)
    assert order == ["another", "the next group"]


async def test_who_is_woken_in_the_turn_in_which_a_group_begins_shares_its_commit(sqlite_database: Settings) -> None:
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def late() -> int:
        await woken
        return await in_transaction(insert(2))

    waiting = asyncio.create_task(late(), context=Context())
    await asyncio.sleep(0)
    async with told() as statements:
        woken.set_result(None)
        assert await in_transaction(insert(1)) == 1
        assert await waiting == 2
    assert statements.count("COMMIT") == 1


async def test_who_waits_while_the_database_is_closed_is_told(sqlite_settings: Settings) -> None:
    await open_database(sqlite_settings)
    first = OnTheThread()
    running = await first.begin()
    waiting = asyncio.create_task(in_transaction(insert(2)), context=Context())
    await asyncio.sleep(0)
    closing = asyncio.create_task(close_database())
    await asyncio.sleep(0)  # from here on it is closed, but for what was queued before
    first.end()
    assert await running == 1
    with pytest.raises(DBConnectionError, match="closed"):
        await waiting
    await closing


async def test_who_waits_too_long_for_the_connection_is_told(sqlite_settings: Settings) -> None:
    await open_database(sqlite_settings.model_copy(update={"database_busy_timeout": 0.05}))
    try:
        async with transaction():
            waiting = [asyncio.create_task(in_transaction(insert(pid)), context=Context()) for pid in range(2)]
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [TimeoutError] * 2
        assert await in_transaction(insert(3)) == 3
        assert await pids() == [3]
    finally:
        await close_database()

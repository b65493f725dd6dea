"""Transactions: all or nothing, also when tasks are cancelled anywhere inside them."""

import asyncio
import random
from contextvars import Context
from typing import Any

import pytest
from tortoise.exceptions import TransactionManagementError

from app.access.models import Role
from app.clock import now
from app.database.connection import close_database, execute, execute_many, open_database, rows, transaction
from app.database.key import new_key
from app.settings import Settings

INSERT = "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, 'host', $2, $3, $3)"


async def insert(pid: int) -> None:
    await execute(INSERT, new_key(), pid, now())


async def pids() -> list[int]:
    return [row["pid"] for row in await rows("SELECT pid FROM worker ORDER BY pid")]


async def test_a_transaction_commits_models_and_plain_sql_together(database: Settings) -> None:
    async with transaction():
        await insert(1)
        await Role.create(name="operators", created_at=now(), updated_at=now())
    assert await pids() == [1]
    assert await Role.exists(name="operators")


async def test_an_exception_undoes_models_and_plain_sql_together(database: Settings) -> None:
    with pytest.raises(LookupError):
        await _fail_after_writing()
    assert await pids() == []
    assert not await Role.exists()


async def _fail_after_writing() -> None:
    async with transaction():
        await insert(1)
        await Role.create(name="operators", created_at=now(), updated_at=now())
        raise LookupError


async def test_a_transaction_inside_another_is_a_savepoint(database: Settings) -> None:
    async with transaction():
        await insert(1)
        with pytest.raises(LookupError):
            await _fail_after_writing_twice()
        async with transaction():
            await insert(4)
    assert await pids() == [1, 4]


async def _fail_after_writing_twice() -> None:
    async with transaction():
        await insert(2)
        await execute_many(INSERT, [[new_key(), 3, now()]])
        raise LookupError


async def test_an_exception_outside_undoes_what_an_inner_transaction_wrote(database: Settings) -> None:
    with pytest.raises(LookupError):
        await _fail_around_an_inner_transaction()
    assert await pids() == []


async def _fail_around_an_inner_transaction() -> None:
    async with transaction():
        async with transaction():
            await insert(1)
        raise LookupError


async def test_a_task_started_inside_a_transaction_is_refused_once_it_is_over(database: Settings) -> None:
    go = asyncio.Event()

    async def late() -> list[int]:
        await go.wait()
        return await pids()

    async with transaction():
        await insert(1)
        inherits = asyncio.create_task(late())
        independent = asyncio.get_running_loop().create_task(late(), context=Context())
    go.set()
    with pytest.raises(TransactionManagementError):
        await inherits
    assert await independent == [1]


async def test_tasks_side_by_side_do_not_see_each_others_transactions(database: Settings) -> None:
    async def one(pid: int) -> None:
        async with transaction():
            await insert(pid)
            if pid % 2:
                raise LookupError

    results = await asyncio.gather(*(one(pid) for pid in range(40)), return_exceptions=True)
    assert sum(isinstance(result, LookupError) for result in results) == 20
    assert await pids() == list(range(0, 40, 2))


async def test_nothing_is_lost_when_400_tasks_are_cancelled_anywhere(database: Settings) -> None:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    chance = random.Random(20261122)

    async def pair(pid: int) -> None:
        async with transaction():
            await insert(pid)
            await rows("SELECT count(*) AS n FROM worker")
            async with transaction():
                await insert(pid)

    async def many(pid: int) -> None:
        await execute_many(INSERT, [[new_key(), pid, now()] for _ in range(2)])

    for round_number in range(50):
        tasks = [asyncio.create_task(chance.choice((pair, many))(round_number * 8 + n)) for n in range(8)]
        for task in tasks:
            loop.call_later(chance.uniform(0, 0.02), task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}

    assert await rows("SELECT pid FROM worker GROUP BY pid HAVING count(*) <> 2") == []
    assert complaints == []
    await _use_every_slot(database)


async def _use_every_slot(database: Settings) -> None:
    """As many transactions at once as the pool has connections (on SQLite one), each of them writing."""
    slots = 1 if database.database_url.startswith("sqlite") else database.database_pool_size
    barrier = asyncio.Barrier(slots)

    async def hold(pid: int) -> None:
        async with transaction():
            await insert(pid)
            await barrier.wait()

    async with asyncio.timeout(database.database_busy_timeout):
        await asyncio.gather(*(hold(-1 - n) for n in range(slots)))
    assert (await pids())[:slots] == list(range(-slots, 0))


async def test_a_cancelled_transaction_leaves_nothing_behind(database: Settings) -> None:
    inside = asyncio.Event()

    async def stall() -> None:
        async with transaction():
            await insert(1)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stall())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pids() == []


async def test_nothing_works_before_opening_or_after_closing(settings: Settings) -> None:
    with pytest.raises(RuntimeError, match="no database is open"):
        await rows("SELECT 1")
    await open_database(settings)
    with pytest.raises(RuntimeError, match="open already"):
        await open_database(settings)
    await close_database()
    await close_database()
    with pytest.raises(RuntimeError, match="no database is open"):
        transaction()
    with pytest.raises(RuntimeError):
        await Role.exists()


async def test_a_database_can_be_opened_again_after_it_was_closed(settings: Settings) -> None:
    for pid in (1, 2):
        await open_database(settings)
        try:
            await insert(pid)
        finally:
            await close_database()
    await open_database(settings)
    try:
        assert await pids() == [1, 2]
    finally:
        await close_database()


async def test_every_task_uses_the_database_whichever_opened_it(settings: Settings) -> None:
    await asyncio.create_task(open_database(settings))
    try:
        await asyncio.get_running_loop().create_task(insert(1), context=Context())
        assert await pids() == [1]
        assert not await Role.exists()
    finally:
        await close_database()

"""The lock of the one connection to SQLite: in turn, the urgent ones first, safe against cancellation."""

import asyncio

import pytest

from app.database.connection import execute, in_transaction, rows, transaction
from app.database.priority_lock import PriorityLock
from app.settings import Settings
from tests.factories import make_service


async def test_it_is_handed_on_in_the_order_of_asking_to_the_urgent_ones_first() -> None:
    lock, order = PriorityLock(), list[str]()

    async def take(name: str, *, urgent: bool) -> None:
        await lock.acquire(urgent=urgent)
        order.append(name)
        await asyncio.sleep(0)
        lock.release()

    await lock.acquire()
    takers = [
        asyncio.create_task(take(name, urgent=name.startswith("urgent")))
        for name in ("first", "second", "urgent first", "urgent second")
    ]
    await asyncio.sleep(0)
    lock.release()
    assert not lock.acquire_at_once()
    await asyncio.gather(*takers)
    assert order == ["urgent first", "urgent second", "first", "second"]
    assert not lock.locked()
    assert lock.acquire_at_once()
    assert lock.locked()


@pytest.mark.parametrize("handed_over", [False, True], ids=["while it waits", "just after it was handed over"])
async def test_who_is_cancelled_keeps_nobody_waiting(handed_over: bool) -> None:
    lock = PriorityLock()
    await lock.acquire()
    cancelled, other = asyncio.create_task(lock.acquire(urgent=True)), asyncio.create_task(lock.acquire())
    await asyncio.sleep(0)
    if handed_over:
        lock.release()
    cancelled.cancel()
    if not handed_over:
        lock.release()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await other
    lock.release()
    assert not lock.locked()


async def test_what_nobody_has_cannot_be_given_back() -> None:
    with pytest.raises(RuntimeError):
        PriorityLock().release()


async def test_an_urgent_transaction_begins_before_what_waits_already(database: Settings) -> None:
    await make_service("a")
    under_way, released = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with transaction():
            await execute("UPDATE service SET label = $1", "held")
            under_way.set()
            await released.wait()

    async def change(label: str, *, urgent: bool) -> None:
        await in_transaction(lambda: execute("UPDATE service SET label = label || $1", label), urgent=urgent)

    holding = asyncio.create_task(hold())
    await under_way.wait()
    waiting = asyncio.create_task(change(" patient", urgent=False))
    await asyncio.sleep(0)
    urgent = asyncio.create_task(change(" urgent", urgent=True))
    await asyncio.sleep(0)
    released.set()
    await asyncio.gather(holding, waiting, urgent)
    (row,) = await rows("SELECT label FROM service")
    assert sorted(row["label"].split()) == ["held", "patient", "urgent"]
    if "sqlite" in database.database_url:
        assert row["label"] == "held urgent patient"

"""No more mails may have left without a written result than a service has connections."""

import asyncio

import pytest

from app.database.key import new_key
from app.delivery.unsettled import Slot, Unsettled

SERVICE = new_key()


async def take(slot: Slot, at_most: int = 2) -> asyncio.Task[None]:
    """Let it be asked for."""
    taking = asyncio.create_task(slot.take(at_most))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return taking


async def test_one_too_many_waits_until_another_is_freed() -> None:
    unsettled = Unsettled()
    first, second, third = (unsettled.slot(SERVICE) for _ in range(3))
    assert all([(await take(slot)).done() for slot in (first, second)])
    waiting = await take(third)
    assert not waiting.done()
    assert (await take(unsettled.slot(new_key()))).done(), "another service has slots of its own"
    assert (await take(first)).done(), "it has it already"
    first.free()
    first.free()
    await waiting
    assert not (await take(first)).done()


async def test_it_is_freed_with_its_block_and_who_is_cancelled_keeps_none() -> None:
    unsettled = Unsettled()
    with unsettled.slot(SERVICE) as held:
        await held.take(1)
        waiting = [await take(unsettled.slot(SERVICE), 1) for _ in range(2)]
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
    await waiting[1]


async def test_who_is_cancelled_as_it_is_given_hands_it_on() -> None:
    unsettled = Unsettled()
    held = unsettled.slot(SERVICE)
    await held.take(1)
    waiting = [await take(unsettled.slot(SERVICE), 1) for _ in range(2)]
    held.free()
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    await waiting[1]

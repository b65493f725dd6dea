"""No more mails may have left without a written result than a service may have, and results wait for each other."""

import asyncio

import pytest

from app.database.key import new_key
from app.delivery.unsettled import Slot, Unsettled, UnsettledPolicy

SERVICE = new_key()
ONE_EACH = UnsettledPolicy(per_connection=1)
LONG = 60


async def take(slot: Slot, at_most: int = 2) -> asyncio.Task[None]:
    """Let it be asked for."""

    async def ask() -> None:
        if not slot.take(at_most):
            await slot.wait()

    taking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return taking


async def test_one_too_many_waits_until_another_is_freed() -> None:
    unsettled = Unsettled(ONE_EACH)
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


async def test_who_is_cancelled_while_it_waits_keeps_none() -> None:
    unsettled = Unsettled(ONE_EACH)
    held = unsettled.slot(SERVICE)
    assert held.take(1)
    waiting = [await take(unsettled.slot(SERVICE), 1) for _ in range(2)]
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    held.free()
    await waiting[1]


async def test_who_is_cancelled_as_it_is_given_hands_it_on() -> None:
    unsettled = Unsettled(ONE_EACH)
    held = unsettled.slot(SERVICE)
    assert held.take(1)
    waiting = [await take(unsettled.slot(SERVICE), 1) for _ in range(2)]
    held.free()
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    await waiting[1]


async def test_each_connection_may_have_several() -> None:
    unsettled = Unsettled(UnsettledPolicy(per_connection=3))
    assert all([(await take(unsettled.slot(SERVICE))).done() for _ in range(6)])
    assert not (await take(unsettled.slot(SERVICE))).done()


async def _settling(unsettled: Unsettled) -> asyncio.Task[None]:
    settling = asyncio.create_task(unsettled.before_settling())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return settling


async def test_results_wait_until_every_server_has_answered() -> None:
    unsettled = Unsettled(UnsettledPolicy(settle_wait=LONG))
    assert (await _settling(unsettled)).done(), "nothing is under way"
    first, second, third = (unsettled.slot(key) for key in (SERVICE, SERVICE, new_key()))
    for slot in (first, second, third):
        assert slot.take(1)
    first.answered()
    settling = await _settling(unsettled)
    second.answered()
    second.free()
    await asyncio.sleep(0)
    assert not settling.done(), "the third one has no answer yet"
    third.free()
    await settling
    first.answered()
    assert (await _settling(unsettled)).done(), "it was answered before"


async def test_results_wait_no_longer_than_they_may() -> None:
    unsettled = Unsettled(UnsettledPolicy(settle_wait=0.01))
    assert unsettled.slot(SERVICE).take(1)
    await unsettled.before_settling()

"""A signal is never lost between looking at a row and waiting for it to change."""

import asyncio
from uuid import UUID

from app.queue.wakeup import Arrival, Wakeup

MESSAGE, OTHER = UUID(int=1), UUID(int=2)


async def test_work_that_arrived_before_the_wait_ends_it_at_once_and_once() -> None:
    wakeup = Wakeup()
    wakeup.work_arrived()
    wakeup.work_arrived()
    async with asyncio.timeout(10):
        await wakeup.wait_for_work(3600)

    waiting = asyncio.create_task(wakeup.wait_for_work(3600))
    await asyncio.sleep(0)
    assert not waiting.done()
    wakeup.work_arrived()
    async with asyncio.timeout(10):
        await waiting


async def test_the_wait_for_work_ends_by_itself() -> None:
    await Wakeup().wait_for_work(0.001)


async def test_work_that_arrives_while_a_wait_is_cancelled_is_kept() -> None:
    wakeup = Wakeup()
    waiting = asyncio.create_task(wakeup.wait_for_work(3600))
    await asyncio.sleep(0)
    wakeup.work_arrived()
    waiting.cancel()
    await asyncio.wait({waiting})

    async with asyncio.timeout(10):
        await wakeup.wait_for_work(3600)


async def test_the_wait_says_which_mail_arrived_and_nothing_where_any_may_be_due() -> None:
    wakeup, arrivals = Wakeup(), [Arrival(MESSAGE, UUID(int=3)), Arrival(OTHER, UUID(int=3))]
    for arrival in arrivals:
        wakeup.mail_arrived(arrival)
    assert await wakeup.wait_for_work(3600) == arrivals

    wakeup.mail_arrived(arrivals[0])
    wakeup.work_arrived()
    wakeup.mail_arrived(arrivals[1])
    assert await wakeup.wait_for_work(3600) is None
    assert await wakeup.wait_for_work(0.001) is None

    wakeup.mail_arrived(arrivals[1])
    assert await wakeup.wait_for_work(3600) == arrivals[1:]


async def test_who_looks_for_no_work_keeps_no_more_than_a_thousand_arrivals() -> None:
    wakeup = Wakeup()
    for number in range(1001):
        wakeup.mail_arrived(Arrival(UUID(int=number), OTHER))

    assert await wakeup.wait_for_work(3600) is None


async def test_a_change_reaches_everyone_who_watches_the_message_and_no_one_else() -> None:
    wakeup = Wakeup()
    with wakeup.watching(MESSAGE) as one, wakeup.watching(MESSAGE) as two, wakeup.watching(OTHER) as other:
        wakeup.message_changed(MESSAGE)
        assert (one.is_set(), two.is_set(), other.is_set()) == (True, True, False)


async def test_nothing_is_kept_of_messages_that_nobody_watches() -> None:
    wakeup = Wakeup()
    with wakeup.watching(MESSAGE), wakeup.watching(MESSAGE):
        pass
    wakeup.message_changed(OTHER)
    assert not wakeup._watchers

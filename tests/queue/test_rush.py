"""Deliveries hold back while many mails are being accepted, and never for good."""

import asyncio

import pytest

from app.database.connection import rows
from app.queue.embedded import EmbeddedEngine
from app.queue.rush import Rush
from app.queue.wakeup import Wakeup
from app.services.models import Service
from tests.queue.calls import NEVER, Calls, running
from tests.queue.conftest import Put

LONG = 3600.0


@pytest.fixture
def calls() -> Calls:
    return Calls()


def begun(rush: Rush, mails: int) -> Rush:
    for _ in range(mails):
        rush.begin()
    return rush


async def test_a_few_mails_hold_nothing_back() -> None:
    assert await begun(Rush(2, LONG), 2).hold_back() is False


async def test_deliveries_hold_back_until_it_is_over() -> None:
    rush = begun(Rush(2, LONG), 4)
    holding = asyncio.create_task(rush.hold_back())
    await asyncio.sleep(0)
    rush.end()
    await asyncio.sleep(0)
    assert not holding.done()

    rush.end()
    async with asyncio.timeout(10):
        assert await holding is False


async def test_they_hold_back_for_the_pause_only() -> None:
    rush = begun(Rush(2, 0.001), 3)
    assert await rush.hold_back() is True
    assert await rush.hold_back() is True
    rush.end()
    assert await rush.hold_back() is False


@pytest.mark.parametrize("ended", [1, 3])
async def test_one_who_stops_holding_back_is_no_trouble_to_its_end(ended: int) -> None:
    rush = begun(Rush(2, LONG), 3)
    holding = asyncio.create_task(rush.hold_back())
    await asyncio.sleep(0)
    holding.cancel()
    for _ in range(ended):
        rush.end()
    await asyncio.wait({holding})
    assert holding.cancelled()
    assert await rush.hold_back() is False


async def test_an_engine_delivers_one_by_one_in_a_rush_and_all_once_it_is_over(
    service: Service, put_mail: Put, calls: Calls
) -> None:
    wakeup = Wakeup(begun(Rush(2, 0.001), 3))
    engine = EmbeddedEngine(wakeup, NEVER)
    mails = [await put_mail() for _ in range(5)]
    engine.services_changed({service.id: 5})
    calls.hang = {service.id}
    async with running(engine, calls.handle):
        await calls.until(lambda: len(calls.started) >= 3)  # they go on, however long it lasts
        wakeup.rush.end()
        await calls.until(lambda: len(calls.started) == 5)
        calls.go.set()
        await calls.until(lambda: sorted(calls.ended) == sorted(mails))


async def test_an_engine_begins_nothing_while_it_holds_back(service: Service, put_mail: Put, calls: Calls) -> None:
    wakeup = Wakeup(begun(Rush(2, LONG), 3))
    engine = EmbeddedEngine(wakeup, NEVER)
    await put_mail()
    engine.services_changed({service.id: 5})
    async with running(engine, calls.handle):
        await rows("SELECT 1 AS one")  # the engine had its turns meanwhile
        assert not calls.started
        wakeup.rush.end()
        await calls.until(lambda: len(calls.ended) == 1)

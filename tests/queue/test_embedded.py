"""Mail that is accepted beside the embedded engine is started without a look at the table, in its turn."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from app.database.connection import rows
from app.queue import embedded
from app.queue.embedded import EmbeddedEngine
from app.queue.wakeup import Arrival, Wakeup
from app.services.models import Service
from tests.factories import NOW, after, make_service
from tests.queue.calls import NEVER, Calls, running
from tests.queue.conftest import Put


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def engine(wakeup: Wakeup) -> EmbeddedEngine:
    return EmbeddedEngine(wakeup, NEVER)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The services whose mail was looked for, each look once."""
    looked: list[UUID] = []

    async def counted(sql: str, service_id: UUID, *args: Any) -> Sequence[Any]:
        looked.append(service_id)
        return await rows(sql, service_id, *args)

    monkeypatch.setattr(embedded, "rows", counted)
    return looked


async def test_mail_that_arrives_is_started_without_a_look(
    service: Service, put_mail: Put, engine: EmbeddedEngine, wakeup: Wakeup, calls: Calls, looks: list[UUID]
) -> None:
    engine.services_changed({service.id: 5})
    async with running(engine, calls.handle), asyncio.timeout(20):
        while len(looks) < 2:  # noqa: ASYNC110 - nobody is told of a look
            await asyncio.sleep(0)
        for number in range(1, 12):
            wakeup.mail_arrived(Arrival(await put_mail(), service.id))
            await calls.until(lambda number=number: len(calls.ended) == number)  # type: ignore[misc]

    assert len(looks) == 2, "as it begins, and for the services; none for a mail"


async def test_the_table_is_looked_at_in_time_however_much_arrives(
    service: Service, put_mail: Put, wakeup: Wakeup, calls: Calls
) -> None:
    engine = EmbeddedEngine(wakeup, poll=0.05)
    engine.services_changed({service.id: 1000})
    first = await put_mail()
    async with running(engine, calls.handle), asyncio.timeout(20):
        await calls.until(lambda: calls.ended == [first])
        untold = await put_mail()  # as by another process
        while untold not in calls.ended:
            wakeup.mail_arrived(Arrival(await put_mail(), service.id))


async def test_who_has_places_free_is_looked_for_and_nobody_else(
    service: Service, put_mail: Put, wakeup: Wakeup, calls: Calls, looks: list[UUID]
) -> None:
    other, engine = await make_service("other"), EmbeddedEngine(wakeup, NEVER)
    engine.services_changed({service.id: 1, other.id: 1})
    mails = [await put_mail() for _ in range(10)]
    async with running(engine, calls.handle):
        await calls.until(lambda: calls.ended == mails)
    assert looks.count(service.id) >= 10
    assert looks.count(other.id) <= 2, "as it begins, and for the services"


async def test_what_arrives_while_all_places_are_taken_waits_behind_what_was_due_before(
    service: Service, put_mail: Put, engine: EmbeddedEngine, wakeup: Wakeup, calls: Calls, looks: list[UUID]
) -> None:
    engine.services_changed({service.id: 1})
    calls.hang = {service.id}
    under_way = await put_mail(moment=NOW)
    async with running(engine, calls.handle):
        await calls.until(lambda: calls.started == [under_way])
        newer, older = await put_mail(moment=after(10)), await put_mail(moment=after(5))
        wakeup.mail_arrived(Arrival(newer, service.id))
        await asyncio.sleep(0)
        calls.go.set()
        await calls.until(lambda: len(calls.ended) == 3)

    assert calls.started == [under_way, older, newer]


async def test_of_several_that_arrive_each_is_started_as_places_get_free(
    service: Service, put_mail: Put, engine: EmbeddedEngine, wakeup: Wakeup, calls: Calls
) -> None:
    engine.services_changed({service.id: 2})
    arrived = []
    async with running(engine, calls.handle):
        for second in range(7):
            arrived.append(await put_mail(moment=after(second)))
            wakeup.mail_arrived(Arrival(arrived[-1], service.id))
        await calls.until(lambda: len(calls.ended) == 7)

    # One that a look finds, and that has ended when it is told to have arrived, is started twice, and then in vain.
    assert (sorted(calls.ended), calls.peak[service.id]) == (sorted(arrived), 2)


async def test_one_that_arrives_twice_is_started_once(
    service: Service, put_mail: Put, engine: EmbeddedEngine, wakeup: Wakeup, calls: Calls
) -> None:
    engine.services_changed({service.id: 5})
    calls.hang = {service.id}
    async with running(engine, calls.handle):
        mail = await put_mail()
        for _ in range(2):
            wakeup.mail_arrived(Arrival(mail, service.id))
        await calls.until(lambda: calls.now[service.id] == 1)
        calls.go.set()
        await calls.until(lambda: len(calls.ended) == 1)

    assert (calls.started, calls.in_vain) == ([mail], 0)


async def test_what_arrives_for_a_service_without_places_is_found_once_it_has_some(
    service: Service, put_mail: Put, engine: EmbeddedEngine, wakeup: Wakeup, calls: Calls
) -> None:
    other = await make_service("other")
    engine.services_changed({other.id: 1})
    async with running(engine, calls.handle):
        waits = await put_mail()
        wakeup.mail_arrived(Arrival(waits, service.id))
        wakeup.mail_arrived(Arrival(await put_mail(service=other), other.id))
        await calls.until(lambda: len(calls.ended) == 1)
        assert waits not in calls.started
        engine.services_changed({service.id: 1, other.id: 1})
        await calls.until(lambda: calls.ended[1:] == [waits])


async def test_after_a_look_that_failed_the_next_arrival_lets_it_look_again(
    service: Service,
    put_mail: Put,
    engine: EmbeddedEngine,
    wakeup: Wakeup,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due = await put_mail(moment=NOW)
    failed = asyncio.Event()

    async def fails(*_: object) -> Sequence[Any]:
        failed.set()
        monkeypatch.setattr(embedded, "rows", rows)
        raise OSError("the disk is away")

    monkeypatch.setattr(embedded, "rows", fails)
    engine.services_changed({service.id: 2})
    async with running(engine, calls.handle):
        await failed.wait()
        arrived = await put_mail(moment=after(1))
        wakeup.mail_arrived(Arrival(arrived, service.id))
        await calls.until(lambda: len(calls.ended) == 2)

    assert sorted(calls.ended) == sorted([due, arrived])

"""What lies between waiting mail and its server."""

from datetime import timedelta
from uuid import UUID

import pytest

from app.database.connection import execute, transaction
from app.queue.claim import claim_message
from app.queue.engine import Priority
from app.queue.explain import Way
from app.queue.heartbeat import beat
from app.queue.pause import pause_service
from app.queue.schedule import Schedule
from app.queue.way import read_ways
from app.services.circuit import CircuitPolicy, Fault, open_circuit, require_proof
from app.services.models import Service
from app.services.usage import LimitName
from tests.factories import NOW, after, make_service
from tests.queue.conftest import Put


async def way_of(message_id: UUID) -> Way:
    return (await read_ways([message_id], NOW, lost_after=40))[message_id]


async def test_nothing_is_in_the_way(put_mail: Put, worker: UUID) -> None:
    await beat(worker, after(-39))
    assert await way_of(await put_mail("a@x.example")) == Way()


async def test_a_worker_that_was_silent_for_too_long_does_not_count(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@x.example")
    assert not (await way_of(message_id)).has_worker
    await beat(worker, after(-41))
    assert not (await way_of(message_id)).has_worker


async def test_the_service_is_in_the_way(put_mail: Put, service: Service) -> None:
    message_id = await put_mail("a@x.example")
    await pause_service(service.id, "Moving house", None, after(-60), max_reason_chars=100)
    async with transaction():
        fault = Fault("Connection refused.")
        await open_circuit(service.id, service.version, fault, after(-10), CircuitPolicy(), probing=False)
    way = await way_of(message_id)

    assert (way.paused_at, way.paused_reason) == (after(-60), "Moving house")
    assert (way.fault, way.probe_at) == ("Connection refused.", after(20))
    await execute("UPDATE service SET is_active = $1", False)
    assert not (await way_of(message_id)).is_active


async def test_credentials_to_be_proven_are_in_the_way(put_mail: Put, service: Service) -> None:
    message_id = await put_mail("a@x.example")
    await require_proof(service.id, after(30))
    way = await way_of(message_id)
    assert (way.fault, way.probe_at) == (None, after(30))


async def test_a_worker_has_it(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@x.example")
    assert await claim_message(worker, message_id, NOW, 60) is not None
    assert (await way_of(message_id)).lease_until == after(60)


async def test_its_limits_are_in_the_way(put_mail: Put, worker: UUID) -> None:
    limited = await make_service("limited", recipients_per_hour=2, recipients_per_day=100)
    first, second = [await put_mail("a@x.example", "b@x.example", service=limited) for _ in range(2)]
    assert await claim_message(worker, first, NOW, 60) is not None
    hourly, daily = (await way_of(second)).usages

    assert (hourly.name, hourly.used, hourly.limit) == (LimitName.RECIPIENTS_PER_HOUR, 2, 2)
    assert hourly.free_at is not None
    assert hourly.free_at >= NOW + timedelta(hours=1)
    assert (daily.name, daily.used, daily.limit, daily.free_at) == (LimitName.RECIPIENTS_PER_DAY, 2, 100, None)


async def test_mail_that_is_due_earlier_or_more_urgent_goes_first(put_mail: Put, worker: UUID) -> None:
    other = await make_service("other")
    for seconds in (-3, -2, -1):
        await put_mail(moment=after(seconds))
    taken = await put_mail(moment=after(-4))
    await put_mail(moment=NOW, schedule=Schedule(priority=Priority.HIGH))
    await put_mail(moment=NOW, schedule=Schedule(priority=Priority.HIGH, send_at=after(60)))
    await put_mail(moment=after(-9), schedule=Schedule(priority=Priority.LOW))
    await put_mail(moment=after(-9), service=other)
    mine = await put_mail(moment=after(-1.5))
    later = await put_mail(schedule=Schedule(send_at=after(60)))
    assert await claim_message(worker, taken, NOW, 60) is not None
    ways = await read_ways([mine, later], NOW, lost_after=40)

    assert (ways[mine].ahead, ways[later].ahead) == (3, 0)


async def test_no_more_are_counted_than_is_worth_the_time(put_mail: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.queue.way.COUNTED", 2)
    for seconds in (-4, -3, -2):
        await put_mail(moment=after(seconds))
    way = await way_of(await put_mail())
    assert (way.ahead, way.counted) == (2, 2)


async def test_mail_of_a_deleted_service_has_no_way(put_mail: Put, service: Service) -> None:
    message_id = await put_mail()
    await service.delete()
    assert await read_ways([message_id], NOW, lost_after=40) == {}

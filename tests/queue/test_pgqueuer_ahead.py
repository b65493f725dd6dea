"""Jobs that PgQueuer's engine takes along behind those that have a slot: no more connections, and everybody's turn."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pgqueuer.adapters.persistence.queries import Queries

from app.clock import now
from app.database.connection import execute
from app.database.jobs import JOBS_TABLE
from app.queue.pgqueuer import PgQueuerEngine
from app.services.models import Service
from app.settings import Settings
from tests.factories import make_service
from tests.queue.calls import NEVER, Calls, Gate, running, send
from tests.queue.conftest import Put, holders, jobs, until_held_by


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def engine(quick: Settings) -> PgQueuerEngine:
    return PgQueuerEngine(quick)


@pytest.fixture
def calls() -> Calls:
    return Calls()


async def until_left(count: int) -> None:
    """Until there are so many jobs."""
    async with asyncio.timeout(20):
        while len(await jobs()) != count:  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)


async def test_those_that_wait_for_a_connection_have_no_slot(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    mails = [await put_mail() for _ in range(9)]
    engine.services_changed({service.id: 2})
    engine.places_ahead({service.id: 6})
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(8)
        await asyncio.sleep(0.2)
        assert gate.started == mails[:8], "two with a slot, and three behind each"
        assert await holders() == mails[:2]
        assert engine.connections(service.id) == 2
        async with asyncio.timeout(20):
            while len(gate.started) < 9:
                gate.end_all()
                await asyncio.sleep(0.01)
        gate.end_all()
    assert await jobs() == []
    assert engine.connections(service.id) == 0


async def test_the_slot_of_one_that_ends_is_the_last_ones_until_none_is_left(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    first, second, third = [await put_mail() for _ in range(3)]
    engine.services_changed({service.id: 1})
    engine.places_ahead({service.id: 2})
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(3)
        gate.end(first)
        await until_held_by(third)
        gate.end(third)
        await until_held_by(second)
        assert engine.connections(service.id) == 1
        gate.end(second)
    assert await jobs() == []


async def test_none_waits_for_a_connection_while_a_slot_is_free(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    """Whoever comes next gets that, and a mail that hangs holds up nobody."""
    hanging = await put_mail()
    engine.services_changed({service.id: 2})
    engine.places_ahead({service.id: 4})
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(1)
        await asyncio.sleep(0.2)
        for count in (2, 3, 4):
            another = await put_mail()
            await gate.until(count)
            await until_held_by(hanging, another)
            gate.end(another)
            await until_held_by(hanging)
        gate.end(hanging)


async def test_one_that_is_to_be_tried_again_hands_its_slot_over_and_waits(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    first, second = [await put_mail() for _ in range(2)]
    engine.services_changed({service.id: 1})
    engine.places_ahead({service.id: 1})
    gate = Gate()
    gate.settles = False
    async with running(engine, gate.handle) as stop:
        await gate.until(2)
        due_at = now() + timedelta(hours=1)
        await execute("UPDATE message SET due_at = $2 WHERE id = $1", first, due_at)
        gate.end(first)
        await until_held_by(second)
        async with asyncio.timeout(20):
            while (waiting := (await jobs())[0])["status"] != "queued":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert waiting["dedupe_key"] == str(first)
        assert abs(waiting["execute_after"] - due_at) < timedelta(seconds=20)
        gate.settles = True
        stop.set()
        gate.end(second)


async def test_reports_gather_while_no_slot_would_be_free_by_them(
    service: Service, put_mail: Put, quick: Settings
) -> None:
    mails = [await put_mail() for _ in range(4)]
    engine = PgQueuerEngine(quick.model_copy(update={"queue_report_wait": NEVER}))
    engine.services_changed({service.id: 1})
    engine.places_ahead({service.id: 3})
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(4)
        gate.end(mails[0], mails[1])
        await asyncio.sleep(0.3)
        assert len(await jobs()) == 4
        gate.end(mails[2], mails[3])
    assert await jobs() == []


async def test_what_is_due_is_not_looked_for_at_the_end_of_each_call(
    service: Service, put_mail: Put, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But where a slot is free by it: then another one may have it, of whatever service."""
    other = await make_service("other")
    mails = [await put_mail() for _ in range(4)]
    engine = PgQueuerEngine(quick.model_copy(update={"queue_poll": NEVER, "lease_renewal": NEVER}))
    engine.services_changed({service.id: 1, other.id: 1})
    engine.places_ahead({service.id: 3})
    looks, dequeue = 0, Queries.dequeue

    async def counted(queries: Queries, **asked: Any) -> Any:
        nonlocal looks
        found = await dequeue(queries, **asked)
        looks += 1
        return found

    monkeypatch.setattr(Queries, "dequeue", counted)
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(4)
        before = looks
        for message_id, left in zip(mails, (3, 2, 1), strict=False):
            gate.end(message_id)
            await until_left(left)
        assert looks == before
        last = await put_mail()
        async with asyncio.timeout(20):
            while looks == before:  # noqa: ASYNC110 - a look sets no event
                await asyncio.sleep(0.01)
        assert last not in gate.started
        gate.end(mails[3])
        await gate.until(5)
        gate.end(last)


async def test_mail_that_leaves_by_another_service_is_looked_for_though_no_slot_is_free_by_it(
    service: Service, put_mail: Put, quick: Settings
) -> None:
    other = await make_service("other")
    _, behind = [await put_mail() for _ in range(2)]
    engine = PgQueuerEngine(quick.model_copy(update={"queue_poll": NEVER, "lease_renewal": NEVER}))
    engine.services_changed({service.id: 1, other.id: 1})
    engine.places_ahead({service.id: 1})
    gate = Gate()
    gate.settles = False
    async with running(engine, gate.handle):
        await gate.until(2)
        await execute("UPDATE message SET route_id = $2 WHERE id = $1", behind, other.id)
        gate.end(behind)
        await gate.until(3)
        assert gate.started[2] == behind
        gate.settles = True
        gate.end_all()
    assert await jobs() == []


async def test_an_end_that_lets_nobody_look_puts_off_no_look(
    service: Service, put_mail: Put, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await make_service("other")
    _, behind = [await put_mail() for _ in range(2)]
    never = dict.fromkeys(("lease_renewal", "recover_interval", "database_command_timeout"), NEVER)
    engine = PgQueuerEngine(quick.model_copy(update={"queue_poll": 200, **never}))
    engine.services_changed({service.id: 1, other.id: 1})
    engine.places_ahead({service.id: 1})
    monkeypatch.setattr(engine, "_look", lambda: None)  # as if each NOTIFY were lost
    loop, passed = asyncio.get_running_loop(), 0  # less than 300, after which the pool closes what is idle
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + passed)
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(2)
        await put_mail(service=other)
        passed = 120
        gate.end(behind)
        await until_left(2)
        passed = 240
        await gate.until(3)
        gate.end_all()


async def test_a_report_waits_for_others_only_shortly(service: Service, put_mail: Put, engine: PgQueuerEngine) -> None:
    hanging, behind = [await put_mail() for _ in range(2)]
    engine.services_changed({service.id: 1})
    engine.places_ahead({service.id: 1})
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(2)
        gate.end(behind)
        await until_left(1)
        assert await holders() == [hanging]
        gate.end(hanging)


async def test_all_workers_together_have_no_more_slots_than_the_cap_and_each_has_its_turn(
    service: Service, put_mail: Put, quick: Settings
) -> None:
    """Where mail goes on: one that begins late finds none of a few."""
    handled: Counter[int] = Counter()
    under_way: Counter[int] = Counter()
    engines = [PgQueuerEngine(quick) for _ in range(2)]
    most = 0

    async def handle(number: int, message_id: UUID) -> None:
        nonlocal most
        under_way[number] += 1
        # An engine hears a little late that its slot is free, but has no call then that would use it.
        in_use = (min(under_way[each], engine.connections(service.id)) for each, engine in enumerate(engines))
        most = max(most, sum(in_use))
        await send(message_id)
        under_way[number] -= 1
        handled[number] += 1

    for engine in engines:
        engine.services_changed({service.id: 3})
        engine.places_ahead({service.id: 6})
    async with (
        running(engines[0], lambda message_id: handle(0, message_id)),
        running(engines[1], lambda message_id: handle(1, message_id)),
        asyncio.timeout(60),
    ):
        while min(handled[0], handled[1]) < 6:
            if len(await jobs()) < 30:
                for _ in range(30):
                    await put_mail()
            assert len(await holders()) <= 3
        await until_left(0)
    assert most <= 3


async def test_what_a_lost_worker_had_without_a_slot_waits_for_one(
    service: Service, put_mail: Put, engine: PgQueuerEngine, quick: Settings
) -> None:
    first, second = [await put_mail() for _ in range(2)]
    await execute(
        f"UPDATE {JOBS_TABLE} SET status = 'picked', heartbeat = NOW() - $1::float * INTERVAL '1 second'",
        quick.lease + 1,
    )
    engine.services_changed({service.id: 1})
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(1)
        await asyncio.sleep(0.2)
        assert gate.started == [first], "the cap is 1"
        gate.end(first)
        await gate.until(2)
        gate.end(second)
    assert await jobs() == []


async def test_a_job_without_a_slot_shows_that_its_worker_lives(
    service: Service, put_mail: Put, quick: Settings
) -> None:
    for _ in range(2):
        await put_mail()
    engine = PgQueuerEngine(quick.model_copy(update={"lease_renewal": 0.05}))
    engine.services_changed({service.id: 1})
    engine.places_ahead({service.id: 1})
    gate = Gate()
    async with running(engine, gate.handle):
        await gate.until(2)
        before = (await jobs())[1]["heartbeat"]
        async with asyncio.timeout(20):
            while (await jobs())[1]["heartbeat"] == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        gate.end_all()


async def test_what_waits_when_the_worker_is_broken_off_is_anybodys(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    for _ in range(3):
        await put_mail()
    engine.services_changed({service.id: 1})
    engine.places_ahead({service.id: 2})
    gate = Gate()
    run = asyncio.create_task(engine.run(gate.handle, asyncio.Event()))
    await gate.until(3)
    run.cancel()
    await asyncio.wait({run})
    assert [(job["status"], job["queue_manager_id"]) for job in await jobs()] == [("queued", None)] * 3
    assert engine.connections(service.id) == 0


async def test_none_is_taken_along_for_a_service_that_has_no_places_ahead_or_is_not_served(
    service: Service, put_mail: Put, quick: Settings, calls: Calls
) -> None:
    other = await make_service("other")
    for _ in range(3):
        await put_mail()
        await put_mail(service=other)
    engine = PgQueuerEngine(quick.model_copy(update={"queue_poll": NEVER, "lease_renewal": NEVER}))
    engine.services_changed({service.id: 1, other.id: 1})
    engine.places_ahead({other.id: 2})
    calls.hang = {service.id, other.id}
    async with running(engine, calls.handle):
        await calls.until(lambda: calls.now.total() == 4)
        assert calls.peak == {service.id: 1, other.id: 3}
        engine.services_changed({service.id: 1})
        await put_mail(service=other)
        calls.go.set()
        await calls.until(lambda: len(calls.ended) == 6)
    assert len(await jobs()) == 1

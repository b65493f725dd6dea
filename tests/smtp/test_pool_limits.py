"""Servers that take only so many connections, and servers that do not take the password."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from app.inbox.receiver import Action, Answer, Drop, Hang, Receiver, Reset, Script, Stage, Wait
from app.mail.envelope import Envelope
from app.smtp.connection import Connection
from app.smtp.failure import Cause, Phase, SmtpFailure
from app.smtp.pool import Pool
from app.smtp.server import Credentials, Server, Timeouts
from app.smtp.transaction import transact
from tests.smtp.conftest import Clock

MakeServer = Callable[..., Server]

ENVELOPE = Envelope("a@example.org", ("b@example.org",))
CREDENTIALS = Credentials("bob-the-user", "s3cret-pass")
KNOWN = {CREDENTIALS.username: CREDENTIALS.password}
EXCESS = [Answer("421 4.7.0 Too many connections"), Answer("450 4.3.2 Busy", close=True), Drop(), Reset()]


@asynccontextmanager
async def a_pool(clock: Clock, *, max_connections: int = 5, max_messages: int = 100) -> AsyncIterator[Pool]:
    pool = Pool(
        max_connections=max_connections,
        max_messages=max_messages,
        idle_limit=25,
        noop_after=5,
        limit_memory=600,
        limit_pause=0.01,
        auth_interval=60,
        clock=clock,
    )
    try:
        yield pool
    finally:
        await pool.close()


async def send(
    pool: Pool, server: Server, *, key: str = "service", version: int = 1, fresh: bool = False
) -> Connection:
    async with pool.borrow(key, version, server, fresh=fresh) as connection:
        result = await transact(connection, ENVELOPE, b"x\r\n", server.timeouts)
        assert result.failure is None
        return connection


async def failure_of(pool: Pool, server: Server, *, version: int = 1) -> SmtpFailure:
    with pytest.raises(SmtpFailure) as caught:
        await send(pool, server, version=version)
    return caught.value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the receiver has no event for it
            await asyncio.sleep(0.001)


async def a_few_turns() -> None:
    """Let everybody go on until they wait for something."""
    for _ in range(20):
        await asyncio.sleep(0)


def has_had(receiver: Receiver, sessions: int) -> bool:
    return len(receiver.sessions) >= sessions


def greeted(receiver: Receiver) -> int:
    """How many sessions got as far as EHLO."""
    return sum("EHLO" in session.verbs for session in receiver.sessions)


def tries(receiver: Receiver) -> int:
    """How often AUTH was tried."""
    return sum(session.verbs.count("AUTH") for session in receiver.sessions)


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("excess", EXCESS)
async def test_all_mail_flows_over_as_many_connections_as_the_server_takes(
    limit: int, excess: Action, clock: Clock, server_for: MakeServer
) -> None:
    receiver = Receiver(keep=True, max_sessions=limit, excess=excess)
    async with receiver, a_pool(clock) as pool:
        await asyncio.gather(*(send(pool, server_for(receiver)) for _ in range(20)))
        assert len(receiver.mails) == 20
        assert greeted(receiver) == limit


async def test_a_server_found_full_is_not_asked_for_more_again_and_again(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True, max_sessions=1) as receiver, a_pool(clock, max_connections=2) as pool:
        server = server_for(receiver)
        async with pool.borrow("service", 1, server):
            for seconds, sessions in ((0, 2), (600, 2), (1, 3)):
                clock.advance(seconds)
                waiting = asyncio.ensure_future(send(pool, server))
                await until(partial(has_had, receiver, sessions))
                await a_few_turns()
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                assert len(receiver.sessions) == sessions


async def test_mail_flows_through_a_full_server_whose_connections_come_to_their_end(
    clock: Clock, server_for: MakeServer
) -> None:
    async with Receiver(keep=True, max_sessions=2) as receiver, a_pool(clock, max_messages=2) as pool:
        await asyncio.gather(*(send(pool, server_for(receiver)) for _ in range(20)))
        assert len(receiver.mails) == 20
        assert max(session.mails for session in receiver.sessions) == 2


@pytest.mark.parametrize(("times", "late", "arrives"), [(1, 0, True), (2, 0, False), (1, 1, False)])
async def test_a_server_may_be_slow_to_notice_that_a_connection_was_closed(
    times: int, late: float, arrives: bool, clock: Clock, server_for: MakeServer
) -> None:
    async with Receiver(keep=True) as receiver, a_pool(clock, max_messages=1) as pool:
        await send(pool, server_for(receiver))
        receiver.script.on(Stage.GREETING, "421 4.7.0 Too many connections", times=times)
        clock.advance(late)
        if arrives:
            await send(pool, server_for(receiver))
        else:
            await failure_of(pool, server_for(receiver))
        assert len(receiver.mails) == 1 + arrives


async def test_an_idle_connection_of_another_service_makes_room(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True, max_sessions=1) as receiver, a_pool(clock) as pool:
        for key in ("one", "two", "one"):
            await send(pool, server_for(receiver), key=key)
        assert [session.mails for session in receiver.sessions if session.mails] == [1, 1, 1]


async def test_an_idle_connection_makes_room_for_a_fresh_one(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True, max_sessions=1) as receiver, a_pool(clock) as pool:
        warm = await send(pool, server_for(receiver))
        assert await send(pool, server_for(receiver), fresh=True) is not warm
        assert len(receiver.mails) == 2


async def test_a_server_that_takes_nobody_is_unwell_and_not_full(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True, max_sessions=0) as receiver, a_pool(clock) as pool:
        failures = await asyncio.gather(*(failure_of(pool, server_for(receiver)) for _ in range(5)))
        assert {failure.failure.phase for failure in failures} == {Phase.GREETING}
        assert len(receiver.sessions) == 5


async def test_a_server_that_goes_down_is_not_taken_for_full(clock: Clock, server_for: MakeServer) -> None:
    receiver = Receiver(keep=True)
    await receiver.start()
    async with a_pool(clock) as pool:
        server = server_for(receiver)
        async with pool.borrow("service", 1, server) as connection:
            await receiver.stop()
            await until(lambda: not connection.usable)
            failure = await failure_of(pool, server)
        assert failure.failure.cause is Cause.CONNECTION_REFUSED


async def test_who_waits_for_room_fails_once_the_server_is_down(clock: Clock, server_for: MakeServer) -> None:
    receiver = Receiver(keep=True, max_sessions=1)
    await receiver.start()
    async with a_pool(clock) as pool:
        server = server_for(receiver)
        async with pool.borrow("service", 1, server):
            waiting = asyncio.ensure_future(failure_of(pool, server))
            await until(lambda: len(receiver.sessions) == 2)
            await a_few_turns()
            await receiver.stop()
        assert (await waiting).failure.cause is Cause.CONNECTION_REFUSED


async def test_who_gives_up_waiting_for_room_takes_none(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True, max_sessions=1) as receiver, a_pool(clock) as pool:
        server = server_for(receiver)
        async with pool.borrow("service", 1, server):
            waiting = asyncio.ensure_future(send(pool, server))
            await until(lambda: len(receiver.sessions) == 2)
            await a_few_turns()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await send(pool, server)
        assert len(receiver.mails) == 1


async def test_closing_ends_the_wait_for_room(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True, max_sessions=1) as receiver, a_pool(clock) as pool:
        server = server_for(receiver)
        async with pool.borrow("service", 1, server):
            waiting = asyncio.ensure_future(send(pool, server))
            await until(lambda: len(receiver.sessions) == 2)
            await a_few_turns()
            await pool.close()
            with pytest.raises(RuntimeError, match="closed"):
                await waiting


@pytest.mark.parametrize(
    "action",
    [Answer("535 5.7.8 revoked"), Answer("454 4.7.0 later"), Answer("421 4.7.0 enough"), Drop(), Hang()],
)
async def test_of_many_at_once_one_tries_the_password(action: Action, clock: Clock, server_for: MakeServer) -> None:
    script = Script().on(Stage.AUTH, action)
    async with Receiver(keep=True, credentials=KNOWN, script=script) as receiver, a_pool(clock) as pool:
        server = server_for(receiver, credentials=CREDENTIALS, timeouts=Timeouts(auth=0.2))
        failures = await asyncio.gather(*(failure_of(pool, server) for _ in range(20)))
        assert tries(receiver) == len(receiver.sessions) == 1
        assert len({failure.failure for failure in failures}) == 1
        assert failures[0].failure.phase is Phase.AUTH


async def test_a_refused_password_is_tried_again_after_the_interval_or_another_version(
    clock: Clock, server_for: MakeServer
) -> None:
    script = Script().on(Stage.AUTH, "535 5.7.8 revoked", times=3)
    async with Receiver(keep=True, credentials=KNOWN, script=script) as receiver, a_pool(clock) as pool:
        server = server_for(receiver, credentials=CREDENTIALS)
        for seconds, version, count in ((0, 1, 1), (59, 1, 1), (0, 2, 2), (59, 2, 2), (1, 2, 3), (59, 2, 3)):
            clock.advance(seconds)
            pool.close_idle()
            assert (await failure_of(pool, server, version=version)).failure.cause is Cause.AUTHENTICATION
            assert tries(receiver) == count
        clock.advance(1)
        await send(pool, server, version=2)
        assert tries(receiver) == 4


async def test_a_password_revoked_while_connections_are_warm_is_tried_once(
    clock: Clock, server_for: MakeServer
) -> None:
    async with Receiver(keep=True, credentials=KNOWN) as receiver, a_pool(clock) as pool:
        server = server_for(receiver, credentials=CREDENTIALS)
        async with pool.borrow("service", 1, server) as warm:
            receiver.script.on(Stage.AUTH, "535 5.7.8 revoked")
            await asyncio.gather(*(failure_of(pool, server) for _ in range(8)))
            assert tries(receiver) == 2
        assert await send(pool, server) is warm


async def test_who_waits_for_a_password_to_be_tried_takes_a_connection_that_comes_back(
    clock: Clock, server_for: MakeServer
) -> None:
    async with Receiver(keep=True, credentials=KNOWN) as receiver, a_pool(clock) as pool:
        server = server_for(receiver, credentials=CREDENTIALS)
        answer = asyncio.Event()
        async with AsyncExitStack() as stack:
            warm = await stack.enter_async_context(pool.borrow("service", 1, server))
            receiver.script.on(Stage.AUTH, Wait(answer))
            slow = asyncio.ensure_future(send(pool, server))
            await until(lambda: tries(receiver) == 2)
            waiting = asyncio.ensure_future(send(pool, server))
            await a_few_turns()
        assert await waiting is warm
        answer.set()
        assert await slow is not warm


async def test_no_answer_before_the_password_is_shared_by_those_who_waited(
    clock: Clock, server_for: MakeServer
) -> None:
    script = Script().on(Stage.GREETING, Hang(), times=1)
    async with Receiver(keep=True, credentials=KNOWN, script=script) as receiver, a_pool(clock) as pool:
        server = server_for(receiver, credentials=CREDENTIALS, timeouts=Timeouts(greeting=0.1))
        await asyncio.gather(*(failure_of(pool, server) for _ in range(5)))
        assert len(receiver.sessions) == 1
        await send(pool, server)
        assert len(receiver.sessions) == 2


async def test_each_key_tries_its_own_password(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True, credentials=KNOWN) as receiver, a_pool(clock) as pool:
        wrong = server_for(receiver, credentials=Credentials("bob-the-user", "wrong"))
        assert (await failure_of(pool, wrong)).failure.cause is Cause.AUTHENTICATION
        await send(pool, server_for(receiver, credentials=CREDENTIALS), key="another")
        assert tries(receiver) == 2


async def test_what_is_lent_counts_until_it_is_given_back(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver, a_pool(clock, max_connections=1) as pool:
        server = server_for(receiver)
        async with pool.borrow("service", 1, server) as lent:
            pool.close_idle()
            waiting = asyncio.ensure_future(send(pool, server))
            await a_few_turns()
            assert not waiting.done()
        assert await waiting is lent


async def test_keys_that_nobody_uses_are_forgotten(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver() as receiver, a_pool(clock) as pool:
        for key in ("one", "two"):
            await send(pool, server_for(receiver), key=key)
        clock.advance(26)
        pool.close_idle()
        assert not pool._berths

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from app.inbox.receiver import Action, Drop, Hang, Receiver, Script, Stage
from app.mail.envelope import Envelope
from app.smtp.connection import Connection
from app.smtp.failure import Cause, SmtpFailure
from app.smtp.pool import Pool
from app.smtp.server import Server, Timeouts
from app.smtp.transaction import transact
from tests.smtp.conftest import Clock

MakeServer = Callable[..., Server]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]

ENVELOPE = Envelope("a@example.org", ("b@example.org",))


def a_pool(clock: Clock, *, max_connections: int = 2, max_messages: int = 100) -> Pool:
    return Pool(
        max_connections=max_connections,
        max_messages=max_messages,
        idle_limit=25,
        noop_after=5,
        limit_pause=0.01,
        clock=clock,
    )


async def send(pool: Pool, server: Server, *, key: str = "service", version: int = 1) -> Connection:
    async with pool.borrow(key, version, server) as connection:
        await transact(connection, ENVELOPE, b"x\r\n", server.timeouts)
        return connection


def verbs(receiver: Receiver) -> list[list[str]]:
    return [log.verbs for log in receiver.sessions]


MAIL = ["MAIL", "RCPT", "DATA"]


async def test_a_connection_is_used_again(clock: Clock, server_for: MakeServer, eventually: Eventually) -> None:
    async with Receiver(keep=True) as receiver:
        pool = a_pool(clock)
        for _ in range(3):
            await send(pool, server_for(receiver))
            clock.advance(5)
        assert verbs(receiver) == [["EHLO", *MAIL, *MAIL, *MAIL]]
        await pool.close()
        await eventually(lambda: "QUIT" in receiver.sessions[0].verbs)


async def test_each_key_has_its_own_connections(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        pool = a_pool(clock)
        assert await send(pool, server_for(receiver), key="one") is not await send(
            pool, server_for(receiver), key="two"
        )
        await pool.close()


async def test_after_some_idleness_it_is_asked_with_noop(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        pool = a_pool(clock)
        await send(pool, server_for(receiver))
        clock.advance(6)
        await send(pool, server_for(receiver))
        assert verbs(receiver) == [["EHLO", *MAIL, "NOOP", *MAIL]]
        await pool.close()


@pytest.mark.parametrize("answer", ["421 4.4.2 idle", "250 2.0.0 alive", "502 5.5.1 what?", "drop", "hang"])
async def test_a_dead_connection_is_replaced_silently(answer: str, clock: Clock, server_for: MakeServer) -> None:
    scripted: dict[str, Action] = {"drop": Drop(), "hang": Hang()}
    action = scripted.get(answer, answer)
    async with Receiver(keep=True, script=Script().on(Stage.NOOP, action, times=1)) as receiver:
        server = server_for(receiver)
        if answer == "hang":
            server = server_for(receiver, timeouts=Timeouts(connect=0.1))
        pool = a_pool(clock)
        first = await send(pool, server)
        clock.advance(6)
        second = await send(pool, server)
        assert (second is first) is (answer == "250 2.0.0 alive")
        assert len(receiver.mails) == 2
        await pool.close()


async def test_one_of_an_older_version_that_comes_back_while_another_is_asked_is_not_lent(
    clock: Clock, server_for: MakeServer, eventually: Eventually
) -> None:
    async with Receiver(keep=True, script=Script().on(Stage.NOOP, Hang(), times=1)) as receiver:
        pool, server = a_pool(clock), server_for(receiver)
        async with pool.borrow("service", 1, server) as old:
            warm = await send(pool, server, version=2)
            clock.advance(6)
            borrowing = asyncio.create_task(send(pool, server, version=2))
            await eventually(lambda: receiver.sessions[1].verbs[-1] == "NOOP")
        warm.close()
        assert await borrowing not in (old, warm)
        await pool.close()


async def test_a_connection_that_the_server_closed_is_replaced(
    clock: Clock, server_for: MakeServer, eventually: Eventually
) -> None:
    async with Receiver(keep=True, idle_timeout=0.05) as receiver:
        pool = a_pool(clock)
        first = await send(pool, server_for(receiver))
        await eventually(lambda: not first.usable)
        assert await send(pool, server_for(receiver)) is not first
        assert len(receiver.mails) == 2
        await pool.close()


@pytest.mark.parametrize("lent", [True, False])
async def test_a_connection_whose_server_says_more_than_it_was_asked_is_closed(
    lent: bool, clock: Clock, server_for: MakeServer, eventually: Eventually
) -> None:
    sessions: list[asyncio.StreamWriter] = []
    left: list[asyncio.StreamWriter] = []

    async def greet_and_stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sessions.append(writer)
        writer.write(b"220 mail.example\r\n")
        while line := await reader.readline():
            if line == b"QUIT\r\n":
                left.append(writer)
            else:
                writer.write(b"250 mail.example\r\n")
        writer.close()

    async with await asyncio.start_server(greet_and_stay, "127.0.0.1") as listener:
        pool = a_pool(clock, max_connections=1)
        server = server_for(listener.sockets[0].getsockname()[1])
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(pool.borrow("service", 1, server))
            if not lent:
                await stack.aclose()
            sessions[0].write(b"421 4.4.2 idle for too long\r\n")
            await eventually(lambda: not connection.usable)
        async with pool.borrow("service", 1, server) as another:
            assert another is not connection
            await eventually(lambda: left == sessions[:1])
        await pool.close()
        await eventually(lambda: left == sessions)


async def test_too_long_idle_is_closed_and_not_lent(
    clock: Clock, server_for: MakeServer, eventually: Eventually
) -> None:
    async with Receiver(keep=True) as receiver:
        pool = a_pool(clock)
        first = await send(pool, server_for(receiver))
        clock.advance(25)
        pool.close_idle()
        assert first.usable
        clock.advance(1)
        second = await send(pool, server_for(receiver))
        assert second is not first
        assert not first.usable
        clock.advance(26)
        pool.close_idle()
        assert not second.usable
        await eventually(lambda: "QUIT" in receiver.sessions[1].verbs)
        await pool.close()


async def test_closing_the_idle_tells_when_to_come_again(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        pool, server = a_pool(clock), server_for(receiver)
        assert pool.close_idle() == 25
        await send(pool, server, key="one")
        clock.advance(10)
        await send(pool, server, key="two")
        assert pool.close_idle() == 15
        clock.advance(15.1)
        assert round(pool.close_idle(), 1) == 9.9
        await pool.close()


async def test_a_connection_is_closed_after_its_messages(
    clock: Clock, server_for: MakeServer, eventually: Eventually
) -> None:
    async with Receiver(keep=True, script=Script().on(Stage.QUIT, Hang())) as receiver:
        pool = a_pool(clock, max_messages=2)
        for _ in range(5):
            await send(pool, server_for(receiver))
        assert [log.mails for log in receiver.sessions] == [2, 2, 1]
        await eventually(lambda: "QUIT" in receiver.sessions[0].verbs)
        await pool.close()


async def test_another_version_closes_what_was_warm(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        pool = a_pool(clock)
        async with AsyncExitStack() as stack:
            server = server_for(receiver)
            warm = [await stack.enter_async_context(pool.borrow("service", 1, server)) for _ in range(2)]
        await send(pool, server_for(receiver), version=2)
        assert not any(connection.usable for connection in warm)
        assert len(receiver.sessions) == 3
        await pool.close()


@pytest.mark.parametrize("late", ["behind", "before"])
async def test_another_version_that_comes_back_late_is_closed_too(
    clock: Clock, server_for: MakeServer, late: str
) -> None:
    async with Receiver(keep=True) as receiver:
        pool, server = a_pool(clock), server_for(receiver)
        async with pool.borrow("service", 1, server) as old, pool.borrow("service", 2, server) as kept:
            pass
        if late == "before":
            async with pool.borrow("service", 2, server) as kept, pool.borrow("service", 1, server) as old:
                pass
        assert (await send(pool, server, version=2)) is kept
        assert not old.usable
        await pool.close()


async def test_no_more_connections_than_allowed_first_come_first_served(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        pool = a_pool(clock, max_connections=2)
        server = server_for(receiver)
        served: list[int] = []
        both_connected = asyncio.Barrier(2)
        out = peak = 0

        async def work(number: int) -> None:
            nonlocal out, peak
            async with pool.borrow("service", 1, server):
                served.append(number)
                out += 1
                peak = max(peak, out)
                if number < 2:
                    await both_connected.wait()
                await asyncio.sleep(0)
                out -= 1

        await asyncio.gather(*(work(number) for number in range(10)))
        assert peak == 2
        assert sorted(served) == list(range(10))
        assert [number for number in served if number > 1] == list(range(2, 10))
        assert len(receiver.sessions) == 2
        await pool.close()


async def test_one_who_gives_up_waiting_takes_no_place(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver() as receiver:
        pool = a_pool(clock, max_connections=1)
        server = server_for(receiver)
        async with pool.borrow("service", 1, server):
            waiting = [asyncio.ensure_future(send(pool, server)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            waiting[1].cancel()
        assert (await waiting[2]).usable
        assert waiting[0].cancelled()
        assert (await send(pool, server)).usable
        await pool.close()


async def test_one_who_gives_up_as_it_is_given_something_hands_it_on(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver() as receiver, asyncio.timeout(10):
        pool = a_pool(clock, max_connections=1)
        server = server_for(receiver)
        async with pool.borrow("service", 1, server) as connection:
            waiting = [asyncio.ensure_future(send(pool, server)) for _ in range(3)]
            await asyncio.sleep(0)
            assert connection.invite()
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
        waiting[1].cancel()
        assert await waiting[2] is await send(pool, server) is connection
        assert waiting[0].cancelled()
        assert waiting[1].cancelled()
        await pool.close()


async def test_a_seat_that_is_left_before_the_end_is_written_is_offered_again(
    clock: Clock, server_for: MakeServer
) -> None:
    async with Receiver() as receiver, asyncio.timeout(10):
        pool = a_pool(clock, max_connections=1)
        server = server_for(receiver)
        async with pool.borrow("service", 1, server) as connection:
            turn = connection.train.board()
            assert not connection.invite(), "nobody waits"
            for _ in range(2):
                async with pool.borrow("service", 1, server) as seat:
                    assert seat is connection
            turn.leave(None, in_transaction=False)
        await pool.close()


async def test_a_borrower_that_fails_or_is_cancelled_closes_it(
    clock: Clock, server_for: MakeServer, eventually: Eventually
) -> None:
    async with Receiver(keep=True) as receiver:
        pool = a_pool(clock, max_connections=1)
        server = server_for(receiver)
        lent: list[Connection] = []

        async def fail() -> None:
            async with pool.borrow("service", 1, server) as connection:
                lent.append(connection)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()

        async def dawdle() -> None:
            async with pool.borrow("service", 1, server) as connection:
                lent.append(connection)
                await asyncio.Event().wait()

        task = asyncio.ensure_future(dawdle())
        await eventually(lambda: len(lent) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(connection.usable for connection in lent)
        assert (await send(pool, server)).usable
        await pool.close()


async def test_rset_is_said_after_a_refused_envelope(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True, script=Script().on(Stage.RCPT, "550 5.1.1 no", times=1)) as receiver:
        pool = a_pool(clock)
        await send(pool, server_for(receiver))
        clock.advance(6)
        await send(pool, server_for(receiver))
        assert verbs(receiver) == [["EHLO", *MAIL, "RSET", *MAIL]]
        assert len(receiver.mails) == 1
        await pool.close()


async def test_a_failure_to_connect_is_raised_and_frees_the_place(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(script=Script().on(Stage.GREETING, "554 5.7.1 no", times=2)) as receiver:
        pool = a_pool(clock, max_connections=1)
        for _ in range(2):
            with pytest.raises(SmtpFailure) as caught:
                await send(pool, server_for(receiver))
            assert caught.value.failure.cause is Cause.REFUSED
        assert (await send(pool, server_for(receiver))).usable
        await pool.close()


async def test_a_closed_pool_lends_nothing(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver() as receiver:
        pool = a_pool(clock)
        async with pool.borrow("service", 1, server_for(receiver)) as connection:
            await pool.close()
            assert not connection.usable
        with pytest.raises(RuntimeError, match="closed"):
            await send(pool, server_for(receiver))


async def test_a_fresh_connection_is_a_new_one(clock: Clock, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        pool = a_pool(clock)
        warm = await send(pool, server_for(receiver))
        async with pool.borrow("service", 1, server_for(receiver), fresh=True) as fresh:
            assert fresh is not warm
        await pool.close()


async def test_a_server_that_cannot_pipeline_is_sent_one_command_at_a_time_for_a_while(
    clock: Clock, server_for: MakeServer
) -> None:
    async with Receiver() as receiver:
        pool, server = a_pool(clock), server_for(receiver)
        async with pool.borrow("service", 1, server) as connection:
            assert connection.pipelining
            connection.out_of_step = True
            connection.close()
        for seconds, pipelining in ((0, False), (3600, False), (1, True)):
            clock.advance(seconds)
            async with pool.borrow("service", 1, server) as connection:
                assert connection.pipelining is pipelining
            async with pool.borrow("another", 1, server) as connection:
                assert connection.pipelining
        await pool.close()

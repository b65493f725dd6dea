"""Transactions right behind each other on one connection: by DATA, and by BDAT."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.inbox.receiver import Action, Answer, Drop, Hang, Raw, Receiver, Script, Stage, Wait
from app.mail.envelope import Envelope
from app.smtp.connection import connect
from app.smtp.exchange import MayFinish
from app.smtp.failure import Cause, Phase, SmtpFailure
from app.smtp.server import Server, Timeouts
from app.smtp.transaction import TransactionResult, transact
from tests.smtp.conftest import Clock
from tests.smtp.line import BDAT, CONTENT, DATA, LARGE, Line, any_rode, codes, line, senders
from tests.smtp.relay import far_from

MakeServer = Callable[..., Server]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.mark.parametrize("recipients", [1, 10])
@pytest.mark.parametrize(("extensions", "most", "seconds"), [(DATA, 1.1, 0.01), (BDAT, 0.25, 0.05)])
async def test_waits_per_message_on_a_busy_connection(
    extensions: frozenset[str], most: float, seconds: float, recipients: int, server_for: MakeServer, clock: Clock
) -> None:
    async with (
        Receiver(keep=True, extensions=extensions) as receiver,
        far_from(receiver.port, seconds) as far,
        line(far.port, server_for, clock) as sending,
    ):
        results = await sending.send_all(50, recipients=recipients)
        assert codes(results) == [{250}] * 50
        assert [mail.content for mail in receiver.mails] == [CONTENT] * 50
        assert senders(receiver) == [str(number) for number in range(50)]
        assert {len(mail.recipients) for mail in receiver.mails} == {recipients}
        assert len(receiver.sessions) == 1
        assert far.rounds - 2 <= 50 * most, "two are for the greeting and EHLO"


async def test_the_next_envelope_is_in_one_write_with_the_dot(server_for: MakeServer, clock: Clock) -> None:
    answer = asyncio.Event()
    async with (
        Receiver(keep=True, script=Script().on(Stage.DOT, Wait(answer), times=1)) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        writing = asyncio.ensure_future(sending.send_all(3))
        async with asyncio.timeout(10):
            while b"DATA\r\nSubject" in receiver.sessions[0].received if receiver.sessions else True:
                if receiver.sessions and b"\r\n.\r\nMAIL FROM:<1@" in receiver.sessions[0].received:
                    break
                await asyncio.sleep(0.005)
        assert b"2@example.org" not in receiver.sessions[0].received, "with DATA only one goes behind"
        answer.set()
        assert codes(await writing) == [{250}] * 3


async def test_who_comes_while_another_waits_to_end_goes_in_one_write_with_it(
    server_for: MakeServer, clock: Clock
) -> None:
    asked, permission = asyncio.Event(), asyncio.Event()

    async def permitted(_: Collection[str]) -> bool:
        asked.set()
        return await permission.wait()

    async with Receiver(keep=True) as receiver, line(receiver, server_for, clock) as sending, asyncio.timeout(10):
        first = asyncio.ensure_future(sending.send(0, may_finish=permitted))
        await asked.wait()
        second = asyncio.ensure_future(sending.send(1))
        await asyncio.sleep(0.01)
        permission.set()
        assert codes(await asyncio.gather(first, second)) == [{250}] * 2
        assert b"\r\n.\r\nMAIL FROM:<1@" in receiver.sessions[0].received


@pytest.mark.parametrize("extensions", [DATA, BDAT])
async def test_who_comes_once_the_end_is_written_goes_behind_it(
    extensions: frozenset[str], server_for: MakeServer, clock: Clock, eventually: Eventually
) -> None:
    answer, script = asyncio.Event(), Script()
    script.on(Stage.DOT, Wait(answer), times=1)
    async with (
        Receiver(keep=True, script=script, extensions=extensions) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        first = asyncio.ensure_future(sending.send(0))
        await eventually(lambda: bool(receiver.sessions) and CONTENT[-9:] in receiver.sessions[0].received)
        second = asyncio.ensure_future(sending.send(1))
        await eventually(lambda: b"MAIL FROM:<1@" in receiver.sessions[0].received)
        assert not first.done()
        answer.set()
        assert codes(await asyncio.gather(first, second)) == [{250}] * 2


@pytest.mark.parametrize("extensions", [DATA, BDAT])
@pytest.mark.parametrize(
    ("stage", "address"),
    [(Stage.MAIL, "1@example.org"), (Stage.RCPT, "r0@1.example"), (Stage.RCPT, "r1@1.example"), (Stage.DOT, None)],
)
@pytest.mark.parametrize("code", [451, 550])
async def test_a_refusal_is_the_verdict_of_one_mail_only(
    extensions: frozenset[str], stage: Stage, address: str | None, code: int, server_for: MakeServer, clock: Clock
) -> None:
    script = Script().on(stage, f"{code} {code // 100}.7.1 no", address=address, after=0 if address else 1, times=1)
    async with (
        Receiver(keep=True, script=script, extensions=extensions) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        results = await sending.send_all(6, recipients=2)
        refused = {code, 250} if stage is Stage.RCPT else {code}
        assert codes(results) == [{250}, refused, *[{250}] * 4]
        taken = [("0", 2), *([("1", 1)] if stage is Stage.RCPT else []), *[(str(number), 2) for number in range(2, 6)]]
        assert [
            (sender, len(mail.recipients)) for sender, mail in zip(senders(receiver), receiver.mails, strict=True)
        ] == taken
        assert all(
            address.endswith(f"@{mail.reverse_path.partition('@')[0]}.example")
            for mail in receiver.mails
            for address in mail.recipients
        )
        assert len(receiver.sessions) == 1


@pytest.mark.parametrize("extensions", [DATA, BDAT])
async def test_all_recipients_refused_holds_up_nobody(
    extensions: frozenset[str], server_for: MakeServer, clock: Clock
) -> None:
    script = Script()
    for place in range(2):
        script.on(Stage.RCPT, "550 5.1.1 no", address=f"r{place}@2.example")
    async with (
        Receiver(keep=True, script=script, extensions=extensions) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        results = await sending.send_all(6, recipients=2)
        assert codes(results) == [{250}, {250}, {550}, *[{250}] * 3]
        assert senders(receiver) == ["0", "1", "3", "4", "5"]


@pytest.mark.parametrize("extensions", [DATA, BDAT])
async def test_421_at_the_end_of_one_is_no_fault_of_those_behind(
    extensions: frozenset[str], server_for: MakeServer, clock: Clock
) -> None:
    script = Script().on(Stage.DOT, Answer("421 4.3.2 bye"), after=1, times=1)
    async with (
        Receiver(keep=True, script=script, extensions=extensions) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        first, second, *others = await sending.send_all(6)
        assert codes([first, *others]) == [{250}] * 5
        assert second.failure is not None
        assert (second.failure.phase, second.try_again, second.is_bumped) == (Phase.DOT, True, False)
        assert sorted(senders(receiver)) == ["0", "2", "3", "4", "5"]
        assert len(receiver.sessions) == 2


@pytest.mark.parametrize("action", [Drop(), Hang(), Raw(b"what?\r\n")])
@pytest.mark.parametrize("stage", [Stage.DOT, Stage.ACCEPTED])
async def test_lost_at_the_dot_only_the_first_is_in_doubt(
    action: Action, stage: Stage, server_for: MakeServer, clock: Clock
) -> None:
    script = Script().on(stage, action, times=1)
    async with (
        Receiver(keep=True, script=script) as receiver,
        line(receiver, server_for, clock, timeouts=Timeouts(dot=0.2)) as sending,
    ):
        first, *others = await sending.send_all(4)
        assert first.failure is not None
        assert first.failure.in_doubt
        assert not first.try_again
        assert codes(others) == [{250}] * 3
        assert sorted(senders(receiver)) == [*(["0"] if stage is Stage.ACCEPTED else []), "1", "2", "3"]
        assert not any_rode(receiver.sessions[1]), "that may be what the server did not like"
        clock.advance(3601)
        await sending.send_all(4)
        assert any_rode(receiver.sessions[2])


async def test_lost_amid_chunks_all_that_were_sent_are_in_doubt(
    server_for: MakeServer, clock: Clock, eventually: Eventually
) -> None:
    go_on = asyncio.Event()
    script = Script().on(Stage.ACCEPTED, Wait(go_on), after=2, times=1).on(Stage.ACCEPTED, Drop(), after=2, times=1)
    async with (
        Receiver(keep=True, script=script, extensions=BDAT) as receiver,
        line(receiver, server_for, clock, window=3) as sending,
    ):
        writing = asyncio.ensure_future(sending.send_all(6))
        await eventually(lambda: bool(receiver.sessions) and b"MAIL FROM:<3@" in receiver.sessions[0].received)
        go_on.set()
        results = await writing
        doubtful = [bool(result.failure and result.failure.in_doubt) for result in results]
        assert doubtful == [False, True, True, True, False, False]
        assert not any(result.try_again for result in results)
        assert sorted(senders(receiver)) == ["0", "1", "4", "5"], "nothing is lost or doubled"
        assert receiver.sessions[1].verbs.count("RSET") == 0, "none rides on the next one"


@pytest.mark.parametrize("extensions", [DATA, BDAT])
async def test_who_is_cancelled_behind_another_leaves_that_one_its_verdict(
    extensions: frozenset[str], server_for: MakeServer, clock: Clock, eventually: Eventually
) -> None:
    answer = asyncio.Event()
    async with (
        Receiver(
            keep=True, script=Script().on(Stage.DOT, Wait(answer), after=1, times=1), extensions=extensions
        ) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        await sending.send(0)
        first = asyncio.ensure_future(sending.send(1))
        second = asyncio.ensure_future(sending.send(2))
        await eventually(lambda: b"MAIL FROM:<2@" in receiver.sessions[0].received)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        answer.set()
        assert codes([await first]) == [{250}]
        assert codes([await sending.send(3)]) == [{250}]
        assert len(receiver.sessions) == 2, "what the server says to the second is for nobody"


async def test_who_is_cancelled_at_the_dot_leaves_nothing_of_the_next(
    server_for: MakeServer, clock: Clock, eventually: Eventually
) -> None:
    answer = asyncio.Event()
    async with (
        Receiver(keep=True, script=Script().on(Stage.DOT, Wait(answer), times=1)) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        first = asyncio.ensure_future(sending.send(0))
        second = asyncio.ensure_future(sending.send(1))
        await eventually(lambda: bool(receiver.sessions) and b"MAIL FROM:<1@" in receiver.sessions[0].received)
        first.cancel()
        assert codes([await second]) == [{250}]
        answer.set()
        assert senders(receiver)[-1] == "1"
        assert len(receiver.sessions) == 2


@pytest.mark.parametrize("extensions", [DATA, BDAT])
async def test_an_end_that_is_withheld_sends_nothing_and_holds_up_nobody(
    extensions: frozenset[str], server_for: MakeServer, clock: Clock
) -> None:
    async def never(_: Collection[str]) -> bool:
        return False

    async with Receiver(keep=True, extensions=extensions) as receiver, line(receiver, server_for, clock) as sending:
        first, second, third = await asyncio.gather(sending.send(0), sending.send(1, may_finish=never), sending.send(2))
        assert codes([first, third]) == [{250}] * 2
        assert second.failure is not None
        assert (second.failure.cause, second.try_again) == (Cause.WITHHELD, False)
        assert sorted(senders(receiver)) == ["0", "2"]


async def test_a_server_out_of_step_behind_the_dot_is_sent_one_command_at_a_time(
    server_for: MakeServer, clock: Clock
) -> None:
    script = Script().on(Stage.MAIL, Raw(b"503 5.5.1 nested\r\n250 ok\r\n"), after=1, times=1)
    async with Receiver(keep=True, script=script) as receiver, line(receiver, server_for, clock) as sending:
        first, second, *others = await sending.send_all(4)
        assert codes([first, *others]) == [{250}] * 3
        assert second.failure is not None
        assert (second.failure.in_doubt, second.try_again, second.replies) == (False, True, {})
        assert sorted(senders(receiver)) == ["0", "2", "3"]
        assert not any_rode(receiver.sessions[-1])


async def test_who_boarded_behind_one_that_may_not_end_yet_goes_with_it(server_for: MakeServer) -> None:
    answer, permission = asyncio.Event(), asyncio.Event()

    async def permitted(_: Collection[str]) -> bool:
        return await permission.wait()

    script = Script().on(Stage.DOT, Wait(answer), times=1)
    async with Receiver(keep=True, script=script, extensions=BDAT) as receiver:
        connection = await connect(server_for(receiver.port))

        def begin(number: int, *may_finish: MayFinish) -> "asyncio.Task[TransactionResult]":
            envelope = Envelope(f"{number}@example.org", ("bob@example.com",))
            return asyncio.create_task(transact(connection, envelope, CONTENT, Timeouts(), *may_finish))

        transactions = [begin(0)]
        async with asyncio.timeout(10):
            while not connection.train.has_ended:  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(0.005)
            transactions += [begin(1, permitted), begin(2)]
            await asyncio.sleep(0.01)
            permission.set()
            await asyncio.sleep(0.01)
            answer.set()
            assert codes(await asyncio.gather(*transactions)) == [{250}] * 3
        assert senders(receiver) == ["0", "1", "2"]
        connection.close()


async def test_no_more_messages_on_a_connection_than_allowed(server_for: MakeServer, clock: Clock) -> None:
    for extensions in (DATA, BDAT):
        async with (
            Receiver(keep=True, extensions=extensions) as receiver,
            line(receiver, server_for, clock, max_messages=3) as sending,
        ):
            assert codes(await sending.send_all(8)) == [{250}] * 8
            assert [session.mails for session in receiver.sessions] == [3, 3, 2]


@pytest.mark.parametrize(("extensions", "options"), [(DATA, {"window": 1}), (DATA - {"PIPELINING"}, {})])
async def test_none_goes_behind_another_where_that_is_not_wanted(
    extensions: frozenset[str], options: dict[str, Any], server_for: MakeServer, clock: Clock
) -> None:
    async with (
        Receiver(keep=True, extensions=extensions) as receiver,
        line(receiver, server_for, clock, **options) as sending,
    ):
        assert codes(await sending.send_all(4)) == [{250}] * 4
        assert not any_rode(receiver.sessions[0])


async def test_one_of_another_version_waits_for_a_connection_of_its_own(server_for: MakeServer, clock: Clock) -> None:
    async with Receiver(keep=True) as receiver, line(receiver, server_for, clock) as sending:

        async def send_other() -> TransactionResult:
            async with sending.pool.borrow("service", 2, sending.server) as connection:
                envelope = Envelope("9@example.org", ("b@example.org",))
                return await transact(connection, envelope, CONTENT, sending.server.timeouts)

        results = await asyncio.gather(sending.send(0), send_other(), sending.send(1))
        assert codes(results) == [{250}] * 3
        assert senders(receiver)[:2] == ["0", "1"], "who fits in may come before who does not"
        assert [session.mails for session in receiver.sessions] == [2, 1]


async def test_who_waits_shares_the_failure_to_connect(server_for: MakeServer, clock: Clock) -> None:
    script = Script().on(Stage.GREETING, "554 5.7.1 go away", times=1)
    async with Receiver(keep=True, script=script) as receiver, line(receiver, server_for, clock) as sending:
        results = await asyncio.gather(*(sending.send(number) for number in range(4)), return_exceptions=True)
        failures = [result.failure for result in results if isinstance(result, SmtpFailure)]
        assert [failure.phase for failure in failures] == [Phase.GREETING] * 4
        assert len(receiver.sessions) == 1
        assert codes([await sending.send(5)]) == [{250}]


async def test_any_content_arrives_as_it_is(server_for: MakeServer, clock: Clock) -> None:
    lines = st.lists(st.text(alphabet=".a\0\u00ff ", max_size=4).map(str.encode), min_size=1, max_size=6)
    contents = st.lists(lines.map(lambda some: b"\r\n".join(some) + b"\r\n"), min_size=2, max_size=5)
    loop = asyncio.get_running_loop()
    for extensions in (DATA, BDAT):
        async with Receiver(keep=True, extensions=extensions) as receiver, line(receiver, server_for, clock) as sending:

            async def arrive(some: list[bytes], receiver: Receiver = receiver, sending: Line = sending) -> None:
                receiver.mails.clear()
                await sending.send_each(some)
                assert [mail.content for mail in receiver.mails] == some

            @settings(max_examples=40, suppress_health_check=list(HealthCheck))
            @given(contents)
            def check(some: list[bytes]) -> None:
                asyncio.run_coroutine_threadsafe(arrive(some), loop).result(10)

            await asyncio.to_thread(check)
            assert len(receiver.sessions) == 1


@pytest.mark.parametrize("extensions", [DATA, BDAT])
async def test_large_and_small_ones_go_behind_each_other(
    extensions: frozenset[str], server_for: MakeServer, clock: Clock
) -> None:
    async with Receiver(keep=True, extensions=extensions) as receiver, line(receiver, server_for, clock) as sending:
        contents = [CONTENT, LARGE, CONTENT, LARGE, LARGE, CONTENT]
        results = await sending.send_each(contents)
        assert codes(results) == [{250}] * 6
        assert [mail.content for mail in receiver.mails] == contents
        assert len(receiver.sessions) == 1

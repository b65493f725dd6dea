"""BDAT: what is said, what a server may refuse, and what it may be said instead."""

import asyncio
from collections.abc import Callable, Collection

import pytest

from app.inbox.receiver import Action, Answer, Drop, Hang, Raw, Receiver, Script, Stage, Wait
from app.mail.envelope import Envelope
from app.smtp.connection import connect
from app.smtp.failure import Cause, Phase
from app.smtp.server import Server, Timeouts
from app.smtp.transaction import TransactionResult, transact
from tests.smtp.conftest import Clock
from tests.smtp.line import BDAT, CONTENT, LARGE, codes, line, senders

MakeServer = Callable[..., Server]

ENVELOPE = Envelope("a@example.org", ("b@example.org", "c@example.org"))
B, C = ENVELOPE.recipients


async def sent(receiver: Receiver, server: Server, content: bytes = CONTENT) -> tuple[TransactionResult, bool]:
    """The result, and whether the connection is usable then."""
    connection = await connect(server)
    try:
        return await transact(connection, ENVELOPE, content, server.timeouts), connection.usable
    finally:
        connection.close()


async def test_one_octet_goes_with_the_first_envelope_and_content_with_those_behind(
    server_for: MakeServer, clock: Clock
) -> None:
    async with Receiver(keep=True, extensions=BDAT) as receiver, line(receiver, server_for, clock) as sending:
        contents = [CONTENT, CONTENT, "Subject: \u00fc\r\n\r\n".encode()]
        await sending.send_each(contents)
        size, last = len(CONTENT), len(contents[2])
        assert receiver.sessions[0].commands[1:] == [
            *(f"MAIL FROM:<0@example.org> SIZE={size}", "RCPT TO:<r0@0.example>", "BDAT 1", f"BDAT {size - 1} LAST"),
            *("RSET", f"MAIL FROM:<1@example.org> SIZE={size}", "RCPT TO:<r0@1.example>", f"BDAT {size} LAST"),
            *("RSET", f"MAIL FROM:<2@example.org> SIZE={last} BODY=8BITMIME", "RCPT TO:<r0@2.example>"),
            f"BDAT {last} LAST",
        ]
        assert [mail.content for mail in receiver.mails] == contents


async def test_large_content_goes_in_several_chunks(server_for: MakeServer) -> None:
    async with Receiver(keep=True, extensions=BDAT) as receiver:
        result, _ = await sent(receiver, server_for(receiver), LARGE)
        assert codes([result]) == [{250}]
        assert receiver.mails[0].content == LARGE
        chunks = [command for command in receiver.sessions[0].commands if command.startswith("BDAT")]
        assert [chunk.endswith(" LAST") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert len(chunks) > 3
        assert sum(int(chunk.split()[1]) for chunk in chunks) == len(LARGE)


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504])
@pytest.mark.parametrize("after", [0, 1])
async def test_a_server_that_refuses_bdat_after_all_gets_data_in_the_same_session(
    code: int, after: int, server_for: MakeServer, clock: Clock
) -> None:
    script = (
        Script().on(Stage.BDAT, f"{code} 5.5.1 no", after=after).on(Stage.RCPT, "550 5.1.1 no", address="r1@2.example")
    )
    async with (
        Receiver(keep=True, script=script, extensions=BDAT) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        results = await sending.send_all(6, recipients=2)
        assert codes(results) == [{250}, {250}, {250, 550}, *[{250}] * 3]
        assert sorted(senders(receiver)) == [str(number) for number in range(6)]
        assert all(mail.recipients[0].endswith(f"@{mail.reverse_path[0]}.example") for mail in receiver.mails)
        assert len(receiver.sessions) == 1
        assert receiver.sessions[0].verbs.count("DATA") == 6 - after
        begun = receiver.sessions[0].verbs.count("BDAT")
        await sending.send_all(3)
        assert receiver.sessions[0].verbs.count("BDAT") == begun, "it is remembered"
        clock.advance(3601)
        await sending.send(9)
        assert receiver.sessions[1].verbs.count("BDAT") > 0


async def test_a_server_that_does_not_know_bdat_never_takes_content_for_commands(
    server_for: MakeServer, clock: Clock
) -> None:
    script = Script().on(Stage.EHLO, "250 receiver.invalid\n250 PIPELINING\n250 CHUNKING")
    async with Receiver(keep=True, script=script) as receiver, line(receiver, server_for, clock) as sending:
        content = b"NOOP smuggled\r\n"
        first, *others = await sending.send_each([content] * 3)
        assert first.failure is not None
        assert (first.failure.in_doubt, first.try_again) == (False, True)
        assert codes([*others, await sending.send(3, content=content)]) == [{250}] * 3
        assert not any("NOOP" in session.verbs for session in receiver.sessions)
        assert [mail.content for mail in receiver.mails] == [content] * 3


@pytest.mark.parametrize("after", [0, 1])
async def test_any_other_refusal_of_bdat_is_the_verdict(after: int, server_for: MakeServer, clock: Clock) -> None:
    script = Script().on(Stage.BDAT, "554 5.7.1 spam", after=after, times=1)
    async with (
        Receiver(keep=True, script=script, extensions=BDAT) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        assert sorted(codes(await sending.send_all(4)), key=str) == [*[{250}] * 3, {554}]
        assert len(receiver.mails) == 3
        assert len(receiver.sessions) == 1


async def test_what_waits_until_it_may_be_sent_is_no_part_of_what_was_refused_meanwhile(
    server_for: MakeServer, clock: Clock
) -> None:
    answer, asked, permission = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def permitted(_: Collection[str]) -> bool:
        asked.set()
        return await permission.wait()

    script = Script().on(Stage.DOT, Wait(answer), times=1).on(Stage.DOT, "554 5.6.0 no", times=1)
    async with (
        Receiver(keep=True, script=script, extensions=BDAT) as receiver,
        line(receiver, server_for, clock) as sending,
        asyncio.timeout(10),
    ):
        first, second = (
            asyncio.ensure_future(each) for each in (sending.send(0), sending.send(1, may_finish=permitted))
        )
        await asked.wait()
        answer.set()
        refused = await first
        permission.set()
        assert codes([refused, await second]) == [{554}, {250}]
        assert [(mail.reverse_path, mail.content) for mail in receiver.mails] == [("1@example.org", CONTENT)]


async def test_a_refusal_amid_the_chunks_is_the_verdict(server_for: MakeServer) -> None:
    script = Script().on(Stage.BDAT, "250 2.0.0 one", times=1).on(Stage.BDAT, "552 5.3.4 enough")
    async with Receiver(keep=True, script=script, extensions=BDAT) as receiver:
        result, _ = await sent(receiver, server_for(receiver), LARGE)
        assert codes([result]) == [{552}]
        assert receiver.mails == []


@pytest.mark.parametrize(
    ("action", "cause"),
    [(Drop(), Cause.DISCONNECTED), (Hang(), Cause.TIMED_OUT), (Raw(b"354 go on\r\n"), Cause.PROTOCOL)],
)
@pytest.mark.parametrize("stage", [Stage.BDAT, Stage.DOT])
async def test_in_doubt_is_only_what_was_sent_whole(
    stage: Stage, action: Action, cause: Cause, server_for: MakeServer
) -> None:
    async with Receiver(keep=True, script=Script().on(stage, action), extensions=BDAT) as receiver:
        result, usable = await sent(receiver, server_for(receiver, timeouts=Timeouts(data=0.1, dot=0.1)))
        assert result.failure is not None
        assert (result.failure.cause, result.failure.in_doubt) == (cause, stage is Stage.DOT)
        assert result.failure.phase is (Phase.DOT if stage is Stage.DOT else Phase.DATA)
        assert result.try_again is (stage is Stage.BDAT)
        assert not usable


@pytest.mark.parametrize("said", [b"250 one\r\n250 one too many\r\n", b"550 no\r\n250 one too many\r\n"])
@pytest.mark.parametrize("after", [0, 1])
async def test_replies_that_are_too_many_are_nobody_s_verdict(
    said: bytes, after: int, server_for: MakeServer, clock: Clock
) -> None:
    script = Script().on(Stage.RCPT, Raw(said), after=after)
    async with (
        Receiver(script=script, extensions=BDAT) as receiver,
        line(receiver, server_for, clock, window=2) as sending,
    ):
        *_, last = await sending.send_all(1 + after)
        assert last.failure is not None
        assert (last.failure.cause, last.failure.in_doubt, last.replies) == (Cause.PROTOCOL, bool(after), {})


async def test_content_that_is_taken_for_nobody_is_in_doubt(server_for: MakeServer, clock: Clock) -> None:
    script = Script().on(Stage.RCPT, "550 5.1.1 no", after=1)
    async with (
        Receiver(script=script, extensions=BDAT - {"ENHANCEDSTATUSCODES"}) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        first, second = await sending.send_all(2)
        assert codes([first, second]) == [{250}, {550}]


async def test_the_end_is_asked_for_with_all_that_may_be_accepted(server_for: MakeServer, clock: Clock) -> None:
    asked: list[list[str]] = []

    async def yes(addresses: Collection[str]) -> bool:
        asked.append(list(addresses))
        return True

    script = Script()
    for number in range(2):
        script.on(Stage.RCPT, "550 5.1.1 no", address=f"r0@{number}.example")
    async with (
        Receiver(keep=True, script=script, extensions=BDAT) as receiver,
        line(receiver, server_for, clock) as sending,
    ):
        await sending.send_all(2, recipients=2, may_finish=yes)
        assert asked == [["r1@0.example"], ["r0@1.example", "r1@1.example"]]
        assert [mail.recipients for mail in receiver.mails] == [("r1@0.example",), ("r1@1.example",)]


@pytest.mark.parametrize(("chunking", "pipelining"), [(False, True), (True, False)])
async def test_without_it_content_goes_by_data(
    chunking: bool, pipelining: bool, server_for: MakeServer, clock: Clock
) -> None:
    extensions = BDAT if pipelining else BDAT - {"PIPELINING"}
    async with (
        Receiver(keep=True, extensions=extensions) as receiver,
        line(receiver, server_for, clock, chunking=chunking) as sending,
    ):
        assert codes(await sending.send_all(3)) == [{250}] * 3
        assert receiver.sessions[0].verbs.count("DATA") == 3
        assert "BDAT" not in receiver.sessions[0].verbs


async def test_421_to_bdat_is_not_in_doubt(server_for: MakeServer) -> None:
    async with Receiver(script=Script().on(Stage.BDAT, Answer("421 4.3.2 bye")), extensions=BDAT) as receiver:
        result, _ = await sent(receiver, server_for(receiver))
        assert result.failure is not None
        assert (result.failure.in_doubt, result.try_again) == (False, True)

"""MAIL, RCPT and DATA in one write, against servers that read and answer a group exactly as a test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.mail.envelope import Envelope
from app.mail.reply import Reply
from app.smtp.connection import Connection, connect
from app.smtp.failure import Cause, Phase
from app.smtp.server import Server, Timeouts
from app.smtp.transaction import TransactionResult, transact

MakeServer = Callable[..., Server]

CONTENT = b"Subject: x\r\n\r\n.hello\r\n"
ENVELOPE = Envelope("a@example.org", ("b@example.org", "c@example.org"))
B, C = ENVELOPE.recipients
GROUP = (
    f"MAIL FROM:<a@example.org> SIZE={len(CONTENT)}\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n"
).encode()
STUFFED = b"Subject: x\r\n\r\n..hello\r\n.\r\n"
ACCEPTED = b"250 sender\r\n250 b\r\n250 c\r\n354 go on\r\n"


@dataclass
class Heard:
    """The port to connect to, and what was read before each answer; `rest` came after the last one."""

    port: int = 0
    turns: list[bytes] = field(default_factory=list)
    rest: bytes = b""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def answering(*turns: tuple[bytes, bytes | list[bytes]], hang_up: bool = False) -> AsyncIterator[Heard]:
    """A server that reads up to the octets a turn begins with, then says the rest of it, turn by turn."""
    heard = Heard()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        for until, answer in ((b"EHLO client.example\r\n", b"250-hello\r\n250-SIZE\r\n250 PIPELINING\r\n"), *turns):
            try:
                heard.turns.append(await reader.readuntil(until))
            except asyncio.IncompleteReadError as end:
                heard.rest = end.partial
                break
            for piece in [answer] if isinstance(answer, bytes) else answer:
                writer.write(piece)
                await asyncio.sleep(0)
        else:
            if not hang_up:
                heard.rest = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        heard.ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    heard.port = server.sockets[0].getsockname()[1]
    try:
        yield heard
    finally:
        server.close()


async def sent(
    heard: Heard, server_for: MakeServer, timeouts: Timeouts | None = None
) -> tuple[TransactionResult, Connection]:
    connection = await connect(server_for(heard.port))
    try:
        result = await transact(connection, ENVELOPE, CONTENT, timeouts or connection.server.timeouts)
        assert connection.usable or result.try_again or not result.failure
        return result, connection
    finally:
        connection.close()
        await heard.ended.wait()


async def test_the_whole_envelope_is_written_before_the_first_reply(server_for: MakeServer) -> None:
    async with answering((b"DATA\r\n", ACCEPTED), (b"\r\n.\r\n", b"250 taken\r\n")) as heard:
        result, connection = await sent(heard, server_for)
        assert result == TransactionResult({B: Reply(250, "taken"), C: Reply(250, "taken")})
        assert heard.turns[1:] == [GROUP, STUFFED]
        assert (connection.messages_sent, connection.in_transaction, connection.out_of_step) == (1, False, False)


async def test_each_mail_on_a_connection_takes_two_waits(server_for: MakeServer) -> None:
    turns = ((b"DATA\r\n", ACCEPTED), (b"\r\n.\r\n", b"250 taken\r\n"))
    async with answering(*turns, *turns, *turns) as heard:
        connection = await connect(server_for(heard.port))
        for _ in range(3):
            assert (await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)).failure is None
        connection.close()
        await heard.ended.wait()
        assert heard.turns[1:] == [GROUP, STUFFED] * 3


async def test_replies_may_come_in_any_pieces(server_for: MakeServer) -> None:
    said = b"250-sender\r\n250 ok\r\n550 5.1.1 no\r\n250-c\r\n250-is\r\n250 fine\r\n354 go on\r\n"
    loop = asyncio.get_running_loop()

    async def arrives(cuts: list[int]) -> None:
        pieces = [said[start:end] for start, end in pairwise([0, *cuts, len(said)])]
        async with answering((b"DATA\r\n", pieces), (b"\r\n.\r\n", b"250 taken\r\n")) as heard:
            result, _ = await sent(heard, server_for)
            assert result == TransactionResult({B: Reply(550, "no", "5.1.1"), C: Reply(250, "taken")})

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(0, len(said)), max_size=6).map(sorted))
    def check(cuts: list[int]) -> None:
        asyncio.run_coroutine_threadsafe(arrives(cuts), loop).result(10)

    await asyncio.to_thread(check)


@pytest.mark.parametrize("after_the_dot", [b"250 queued for nobody\r\n", b"554 no valid recipients\r\n", b"what?\r\n"])
@pytest.mark.parametrize(
    ("replies", "codes"),
    [
        (b"250 ok\r\n550 no\r\n450 busy\r\n354 go on\r\n", (550, 450)),
        (b"451 not now\r\n503 MAIL first\r\n503 MAIL first\r\n354 go on\r\n", (451, 451)),
    ],
)
async def test_354_without_a_recipient_is_ended_with_a_lone_dot_and_sends_nothing(
    replies: bytes, codes: tuple[int, int], after_the_dot: bytes, server_for: MakeServer
) -> None:
    async with answering((b"DATA\r\n", replies), (b".\r\n", after_the_dot)) as heard:
        result, connection = await sent(heard, server_for)
        assert heard.turns[2] == b".\r\n"
        assert (result.replies[B].code, result.replies[C].code) == codes
        assert result.failure is None
        assert connection.messages_sent == 0


async def test_a_lone_dot_that_is_not_answered_changes_no_verdict(server_for: MakeServer) -> None:
    said = b"250 ok\r\n550 no\r\n550 no\r\n354 go on\r\n"
    async with answering((b"DATA\r\n", said), (b".\r\n", b""), hang_up=True) as heard:
        result, connection = await sent(heard, server_for)
        assert result == TransactionResult(dict.fromkeys((B, C), Reply(550, "no")))
        assert not connection.usable


@pytest.mark.parametrize(
    ("replies", "codes"),
    [
        (b"550 no\r\n503 MAIL first\r\n503 MAIL first\r\n503 MAIL first\r\n", {B: 550, C: 550}),
        (b"451 no\r\n503 MAIL first\r\n421 bye\r\n", {B: 451, C: 451}),
        (b"250 ok\r\n550 b\r\n452 c\r\n503 RCPT first\r\n", {B: 550, C: 452}),
        (b"250 ok\r\n550 b\r\n452 c\r\n421 bye\r\n", {B: 550, C: 452}),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n554 not today\r\n", {B: 554, C: 554}),
        (b"250 ok\r\n550 b\r\n250 ok\r\n451 not now\r\n", {B: 550, C: 451}),
    ],
)
async def test_a_refusal_is_the_verdict_of_those_it_is_about(
    replies: bytes, codes: dict[str, int], server_for: MakeServer
) -> None:
    async with answering((b"DATA\r\n", replies)) as heard:
        result, _ = await sent(heard, server_for)
        assert {address: reply.code for address, reply in result.replies.items()} == codes
        assert result.failure is None
        assert heard.rest == b""


@pytest.mark.parametrize(
    ("replies", "phase"),
    [
        (b"250 ok\r\n250 b\r\n250 one too many\r\n550 c\r\n354 go on\r\n", Phase.DATA),
        (b"250 ok\r\n550 b\r\n550 one too many\r\n550 c\r\n503 RCPT first\r\n", Phase.DATA),
        (b"250 ok\r\n250 b\r\n250 c\r\n354 go on\r\n250 taken\r\n", Phase.DATA),
        (b"250 ok\r\n550 only one of two\r\n354 go on\r\n", Phase.RCPT),
        (b"550 no\r\n250 b\r\n250 c\r\n354 go on\r\n", Phase.RCPT),
        (b"250 ok\r\n503 MAIL first\r\n550 c\r\n354 go on\r\n", Phase.RCPT),
        (b"250 ok\r\n550 b\r\n250 c\r\n503 RCPT first\r\n", Phase.DATA),
        (b"250 ok\r\n550 b\r\nlorem ipsum\r\n354 go on\r\n", Phase.RCPT),
        (b"250 ok\r\n550 b\r\n250 c\r\n250 what for\r\n", Phase.DATA),
    ],
)
async def test_a_server_out_of_step_has_given_no_verdict_and_gets_no_content(
    replies: bytes, phase: Phase, server_for: MakeServer
) -> None:
    async with answering((b"DATA\r\n", replies)) as heard:
        result, connection = await sent(heard, server_for)
        assert result.replies == {}
        assert result.failure is not None
        assert (result.failure.phase, result.failure.cause, result.try_again) == (phase, Cause.PROTOCOL, True)
        assert connection.out_of_step
        assert not connection.usable
        assert heard.rest == b""


@pytest.mark.parametrize("hang_up", [False, True])
@pytest.mark.parametrize(
    ("replies", "phase", "refused"),
    [
        (b"", Phase.MAIL, {}),
        (b"250 answers only the first command\r\n", Phase.RCPT, {}),
        (b"250 ok\r\n550 b\r\n", Phase.RCPT, {B: Reply(550, "b")}),
        (b"250 ok\r\n550 b\r\n250 c\r\n", Phase.DATA, {B: Reply(550, "b")}),
    ],
)
async def test_replies_that_do_not_come_leave_the_others_their_verdict(
    replies: bytes, phase: Phase, refused: dict[str, Reply], hang_up: bool, server_for: MakeServer
) -> None:
    timeouts = Timeouts() if hang_up else replace(Timeouts(), **{phase.value: 0.1})
    async with answering((b"DATA\r\n", replies), hang_up=hang_up) as heard:
        result, connection = await sent(heard, server_for, timeouts)
        assert result.replies == refused
        assert result.failure is not None
        assert (result.failure.phase, result.try_again, connection.out_of_step) == (phase, True, True)
        assert result.failure.cause is (Cause.DISCONNECTED if hang_up else Cause.TIMED_OUT)
        assert heard.rest == b""


async def test_421_amid_the_group_is_the_failure_of_those_not_yet_answered(server_for: MakeServer) -> None:
    async with answering((b"DATA\r\n", b"250 ok\r\n550 b\r\n421 too many errors\r\n"), hang_up=True) as heard:
        result, connection = await sent(heard, server_for)
        assert result.replies == {B: Reply(550, "b")}
        assert result.failure is not None
        assert result.failure.reply == Reply(421, "too many errors")
        assert (result.try_again, connection.out_of_step) == (True, False)


@pytest.mark.parametrize(
    "replies",
    [
        ACCEPTED,
        b"250 sender\r\n250 b\r\n250 c\r\n354 go on\r\n250 one too many\r\n",
        b"250 sender\r\n250 b\r\n354 go on\r\n",
        b"250 sender\r\n250 b\r\n250 c\r\n250 b\r\n354 go on\r\n",
        b"250 sender\r\n250 b\r\n354 go on\r\n354 go on\r\n",
        b"250 sender\r\n354 go on\r\n250 b\r\n250 c\r\n",
        b"250 sender\r\n550 b\r\n250 c\r\n354 go on\r\n",
        b"421 bye\r\n",
    ],
)
async def test_replies_that_came_before_mean_what_they_meant_the_first_time(
    replies: bytes, server_for: MakeServer
) -> None:
    group, taken = b"DATA\r\n", (b"\r\n.\r\n", b"250 taken\r\n")
    outcomes = []
    for before in ([], [(group, ACCEPTED), taken] * 2):
        async with answering(*before, (group, replies), taken) as heard:
            connection = await connect(server_for(heard.port))
            for _ in before[::2]:
                result = await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)
                assert result.replies == dict.fromkeys((B, C), Reply(250, "taken"))
            result = await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)
            outcomes.append((result, connection.in_transaction, connection.out_of_step, connection.usable))
            connection.close()
            await heard.ended.wait()
    first, later = outcomes
    assert first == later


async def test_a_reply_to_nothing_makes_a_connection_unusable(server_for: MakeServer) -> None:
    async with answering((b"NOOP\r\n", b"250 ok\r\n421 idle for too long\r\n")) as heard:
        connection = await connect(server_for(heard.port))
        await connection.noop()
        assert not connection.usable
        connection.close()
        await heard.ended.wait()

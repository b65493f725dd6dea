import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.inbox.receiver import EXTENSIONS, Action, Answer, Drop, Endless, Hang, Raw, Receiver, Reset, Script, Stage
from app.mail.envelope import Envelope
from app.mail.reply import Reply
from app.smtp.connection import Connection, connect
from app.smtp.failure import Cause, Phase
from app.smtp.server import Credentials, Server, Timeouts
from app.smtp.transaction import TransactionResult, transact

MakeServer = Callable[..., Server]

CONTENT = b"Subject: x\r\n\r\nhello\r\n"
LARGE = b"Subject: x\r\n\r\n" + (b"y" * 76 + b"\r\n") * 400_000
ENVELOPE = Envelope("a@example.org", ("b@example.org", "c@example.org", "d@example.org"))
B, C, D = ENVELOPE.recipients
TAKEN = Reply(250, "Taken", "2.0.0")


@pytest.fixture(params=["pipelined", "in turn"])
def extensions(request: pytest.FixtureRequest) -> frozenset[str]:
    """With PIPELINING, and without."""
    return frozenset(EXTENSIONS) - ({"PIPELINING"} if request.param == "in turn" else set())


@asynccontextmanager
async def connected(receiver: Receiver, server_for: MakeServer) -> AsyncIterator[Connection]:
    connection = await connect(server_for(receiver))
    try:
        yield connection
    finally:
        connection.close()


async def sent(
    receiver: Receiver,
    server_for: MakeServer,
    envelope: Envelope = ENVELOPE,
    content: bytes = CONTENT,
    timeouts: Timeouts | None = None,
) -> tuple[TransactionResult, Connection]:
    async with connected(receiver, server_for) as connection:
        result = await transact(connection, envelope, content, timeouts or connection.server.timeouts)
        assert connection.usable is (result.failure is None)
        return result, connection


async def test_every_recipient_gets_the_reply_to_the_final_dot(server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        result, connection = await sent(receiver, server_for)
        assert result == TransactionResult({B: TAKEN, C: TAKEN, D: TAKEN})
        assert (connection.messages_sent, connection.in_transaction) == (1, False)
        [mail] = receiver.mails
        assert (mail.reverse_path, mail.recipients, mail.content) == ("a@example.org", (B, C, D), CONTENT)
        assert mail.parameters == {"SIZE": str(len(CONTENT))}
        assert receiver.sessions[0].verbs == ["EHLO", "MAIL", "RCPT", "RCPT", "RCPT", "DATA"]


async def test_one_connection_takes_one_mail_after_another(server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver, connected(receiver, server_for) as connection:
        for count in range(1, 4):
            await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)
            assert connection.messages_sent == len(receiver.mails) == count


async def test_a_recipient_named_twice_gets_one_copy(server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        await sent(receiver, server_for, Envelope("", (B, B)))
        assert receiver.mails[0].recipients == (B,)
        assert receiver.mails[0].reverse_path == ""


@pytest.mark.parametrize(
    "content",
    [
        b".\r\n",
        b"\r\n",
        b"..\r\n.\r\n...\r\n",
        b"Subject: x\r\n\r\nsmuggled\r\n.\r\nMAIL FROM:<evil@example.org>\r\n",
        b"a" * 998 + b"\r\n" + b"." * 997 + b"\r\n",
        (b"." * 61 + b"\r\n") * 5000,
        b"\x00\xff\xfe\r\n",
        LARGE,
    ],
    ids=lambda content: f"{content[:20]!r}",
)
async def test_content_arrives_byte_for_byte(content: bytes, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        result, _ = await sent(receiver, server_for, content=content)
        assert result.failure is None
        assert receiver.mails[0].content == content
        assert receiver.sessions[0].verbs.count("MAIL") == 1


async def test_any_lines_arrive_byte_for_byte(server_for: MakeServer) -> None:
    lines = st.lists(st.text(alphabet=".a\0\u00ff ", max_size=4).map(str.encode), min_size=1, max_size=6)
    async with Receiver(keep=True) as receiver, connected(receiver, server_for) as connection:
        loop = asyncio.get_running_loop()

        async def arrives(content: bytes) -> None:
            await transact(connection, ENVELOPE, content, connection.server.timeouts)
            assert receiver.mails[-1].content == content

        @settings(max_examples=100, suppress_health_check=list(HealthCheck))
        @given(lines)
        def check(some: list[bytes]) -> None:
            asyncio.run_coroutine_threadsafe(arrives(b"\r\n".join(some) + b"\r\n"), loop).result(10)

        await asyncio.to_thread(check)


@pytest.mark.parametrize("content", [b"", b"no end", b"a\nb\r\n", b"a\rb\r\n", b"\r\n.\n", b"a\r\r\n", b"a\n\rb\r\n"])
async def test_content_with_other_line_ends_is_not_sent(content: bytes, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        result, _ = await sent(receiver, server_for, content=content)
        assert {reply.enhanced_code for reply in result.replies.values()} == {"5.6.0"}
        assert receiver.sessions[0].verbs == ["EHLO"]


async def test_each_recipient_has_its_own_reply(extensions: frozenset[str], server_for: MakeServer) -> None:
    script = Script().on(Stage.RCPT, "550 5.1.1 no such user", address=B).on(Stage.RCPT, "452 4.2.2 full", address=C)
    async with Receiver(keep=True, script=script, extensions=extensions) as receiver:
        result, _ = await sent(receiver, server_for)
        assert result == TransactionResult(
            {B: Reply(550, "no such user", "5.1.1"), C: Reply(452, "full", "4.2.2"), D: TAKEN}
        )
        assert receiver.mails[0].recipients == (D,)


async def test_no_content_is_sent_when_no_recipient_is_left(extensions: frozenset[str], server_for: MakeServer) -> None:
    script = Script().on(Stage.RCPT, "550 5.1.1 no such user", times=3)
    receiver = Receiver(keep=True, script=script, extensions=extensions)
    async with receiver, connected(receiver, server_for) as connection:
        result = await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)
        assert result == TransactionResult(dict.fromkeys((B, C, D), Reply(550, "no such user", "5.1.1")))
        assert ("DATA" in receiver.sessions[0].verbs) is ("PIPELINING" in extensions)
        assert connection.in_transaction
        await connection.reset()
        assert not connection.in_transaction
        result = await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)
        assert result.replies == {B: TAKEN, C: TAKEN, D: TAKEN}


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT])
@pytest.mark.parametrize("code", [451, 550])
async def test_a_refusal_in_any_phase_is_the_reply_of_all(
    stage: Stage, code: int, extensions: frozenset[str], server_for: MakeServer
) -> None:
    script = Script().on(stage, f"{code} {code // 100}.7.1 no")
    async with Receiver(keep=True, script=script, extensions=extensions) as receiver:
        result, _ = await sent(receiver, server_for)
        refusal = Reply(code, "no", f"{code // 100}.7.1")
        assert result == TransactionResult({B: refusal, C: refusal, D: refusal})
        assert receiver.mails == []


BROKEN: list[tuple[Action, Cause, int | None]] = [
    (Answer("421 4.3.2 bye"), Cause.REFUSED, 421),
    (Drop(), Cause.DISCONNECTED, None),
    (Reset(), Cause.DISCONNECTED, None),
    (Hang(), Cause.TIMED_OUT, None),
    (Raw(b"garbage\r\n"), Cause.PROTOCOL, None),
    (Raw(b"123 too low\r\n"), Cause.PROTOCOL, None),
    (Endless(b"550-endless\r\n"), Cause.PROTOCOL, None),
]


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT])
@pytest.mark.parametrize(("action", "cause", "code"), BROKEN)
async def test_a_session_may_break_in_any_phase(
    stage: Stage,
    action: Action,
    cause: Cause,
    code: int | None,
    extensions: frozenset[str],
    server_for: MakeServer,
) -> None:
    address = C if stage is Stage.RCPT else None
    script = Script().on(Stage.RCPT, "550 5.1.1 no", address=B).on(stage, action, address=address)
    timeouts = replace(Timeouts(), **{stage.value: 0.1}) if isinstance(action, Hang) else None
    pipelined = "PIPELINING" in extensions
    async with Receiver(keep=True, script=script, extensions=extensions) as receiver:
        result, connection = await sent(receiver, server_for, timeouts=timeouts)
        assert result.failure is not None
        assert result.failure.phase == stage.value
        assert result.failure.cause is cause
        assert (result.failure.reply.code if result.failure.reply else None) == code
        assert result.failure.in_doubt is (stage is Stage.DOT and code is None)
        assert not result.failure.of_service
        whose_reply_is_not_known = pipelined and cause is Cause.PROTOCOL and stage is not Stage.DOT
        assert set(result.replies) == (set() if stage is Stage.MAIL or whose_reply_is_not_known else {B})
        assert result.try_again is (code == 421 or (pipelined and stage is not Stage.DOT))
        assert not connection.usable
        assert receiver.mails == []


@pytest.mark.parametrize(
    ("stage", "reply"), [(Stage.MAIL, "354 go on"), (Stage.RCPT, "354 go on"), (Stage.DATA, "250 ok")]
)
async def test_a_positive_reply_out_of_place_ends_the_session(
    stage: Stage, reply: str, extensions: frozenset[str], server_for: MakeServer
) -> None:
    async with Receiver(keep=True, script=Script().on(stage, reply), extensions=extensions) as receiver:
        result, _ = await sent(receiver, server_for)
        assert result.failure is not None
        assert (result.failure.phase, result.failure.cause) == (Phase(stage.value), Cause.PROTOCOL)


async def test_354_to_the_final_dot_is_in_doubt(server_for: MakeServer) -> None:
    async with Receiver(keep=True, script=Script().on(Stage.DOT, Raw(b"354 more\r\n"))) as receiver:
        result, _ = await sent(receiver, server_for)
        assert result.failure is not None
        assert result.failure.in_doubt


@pytest.mark.parametrize("action", [Drop(), Reset(), Hang()])
async def test_a_reply_lost_after_the_mail_was_taken_is_in_doubt(action: Action, server_for: MakeServer) -> None:
    async with Receiver(keep=True, script=Script().on(Stage.ACCEPTED, action)) as receiver:
        result, _ = await sent(receiver, server_for, timeouts=Timeouts(dot=0.1))
        assert result.replies == {}
        assert result.failure is not None
        assert result.failure.in_doubt
        assert len(receiver.mails) == 1


@pytest.mark.parametrize(
    ("action", "cause"), [(Drop(), Cause.DISCONNECTED), (Reset(), Cause.DISCONNECTED), (Hang(), Cause.TIMED_OUT)]
)
async def test_a_session_that_breaks_amid_the_content_is_not_in_doubt(
    action: Action, cause: Cause, server_for: MakeServer
) -> None:
    async with Receiver(keep=True, script=Script().on(Stage.CONTENT, action)) as receiver:
        timeouts = Timeouts(content=0.3 if isinstance(action, Hang) else 20)
        result, _ = await sent(receiver, server_for, content=LARGE, timeouts=timeouts)
        assert result.failure is not None
        assert (result.failure.phase, result.failure.cause) == (Phase.CONTENT, cause)
        assert not result.failure.in_doubt


async def test_a_server_that_left_after_354_has_taken_nothing(server_for: MakeServer) -> None:
    async with Receiver(script=Script().on(Stage.DATA, Answer("354 go on", close=True))) as receiver:
        result, _ = await sent(receiver, server_for, content=LARGE)
        assert result.failure is not None
        assert (result.failure.phase, result.failure.in_doubt) == (Phase.CONTENT, False)


@pytest.mark.parametrize("close", [False, True])
async def test_a_refusal_amid_the_content_is_told_and_the_connection_closed(
    close: bool, server_for: MakeServer
) -> None:
    script = Script().on(Stage.CONTENT, Answer("552 5.3.4 enough", close=close))
    async with Receiver(keep=True, script=script) as receiver, connected(receiver, server_for) as connection:
        result = await transact(connection, ENVELOPE, LARGE, connection.server.timeouts)
        if close and result.failure is not None:  # a reset may overtake the reply
            assert (result.failure.phase, result.failure.cause) == (Phase.CONTENT, Cause.DISCONNECTED)
        else:
            assert {reply.code for reply in result.replies.values()} == {552}
        assert not connection.usable
        assert receiver.mails == []


@pytest.mark.parametrize("early", [b"250 taken\r\n", b"what?\r\n"])
async def test_a_reply_amid_the_content_that_makes_no_sense_is_not_a_verdict(
    early: bytes, server_for: MakeServer
) -> None:
    async with Receiver(script=Script().on(Stage.CONTENT, Raw(early))) as receiver:
        result, _ = await sent(receiver, server_for, content=LARGE)
        assert result.replies == {}
        assert result.failure is not None
        assert (result.failure.phase, result.failure.cause) == (Phase.CONTENT, Cause.PROTOCOL)


async def test_421_right_behind_the_verdict_does_not_spoil_it(server_for: MakeServer) -> None:
    script = Script().on(Stage.ACCEPTED, Raw(b"250 2.0.0 Taken\r\n421 4.3.2 bye\r\n"))
    async with Receiver(script=script) as receiver, connected(receiver, server_for) as connection:
        result = await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)
        assert result == TransactionResult({B: TAKEN, C: TAKEN, D: TAKEN})
        assert not connection.usable


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT])
async def test_two_replies_to_one_command_are_never_taken_for_the_next_one_s(
    stage: Stage, extensions: frozenset[str], server_for: MakeServer
) -> None:
    script = Script().on(stage, Raw(b"250 one\r\n250 two\r\n"))
    async with Receiver(keep=True, script=script, extensions=extensions) as receiver:
        result, _ = await sent(receiver, server_for)
        assert result.replies == {}
        assert result.failure is not None
        assert result.failure.phase is (Phase.DATA if "PIPELINING" in extensions else Phase.RCPT)
        assert receiver.mails == []


@pytest.mark.parametrize("address", ["b@x>\r\nRCPT TO:<c@x", "b@x> SIZE=1", "b c@x", "b\0@x", "\udcff@x", '"open@x'])
async def test_an_address_that_would_break_out_of_its_command_is_not_sent(address: str, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        result, _ = await sent(receiver, server_for, Envelope("a@example.org", (address, B)))
        assert result.replies == {address: result.replies[address], B: TAKEN}
        assert result.replies[address].enhanced_code == "5.1.3"
        assert receiver.mails[0].recipients == (B,)
        result, _ = await sent(receiver, server_for, Envelope(address, (B,)))
        assert result.replies[B].enhanced_code == "5.1.3"


async def test_a_quoted_local_part_is_sent_as_it_is(server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        await sent(receiver, server_for, Envelope('"a b>c\\""@example.org', (B,)))
        assert receiver.mails[0].reverse_path == '"a b>c\\""@example.org'


async def test_a_reply_is_made_safe_to_store(server_for: MakeServer) -> None:
    noise = b"550-5.1.1 \xff\xfe\x00\x1b[31m\r\n550 5.1.1 second\r\n"
    async with Receiver(script=Script().on(Stage.MAIL, Raw(noise))) as receiver:
        result, _ = await sent(receiver, server_for)
        text = result.replies[B].text
        assert text == "\ufffd\ufffd  [31m\nsecond"
        assert text.encode()


async def test_cancellation_closes_the_connection(server_for: MakeServer) -> None:
    event = asyncio.Event()

    async def on_mail(_: object) -> None:
        event.set()
        await asyncio.Event().wait()

    async with Receiver(on_mail=on_mail) as receiver, connected(receiver, server_for) as connection:
        sending = asyncio.ensure_future(transact(connection, ENVELOPE, CONTENT, connection.server.timeouts))
        await event.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not connection.usable


@pytest.mark.parametrize("code", [250, 451, 550, 421])
@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.CONTENT, Stage.DOT])
async def test_no_reply_tells_the_user_name(
    stage: Stage, code: int, server_for: MakeServer, extensions: frozenset[str]
) -> None:
    credentials = Credentials("login-name", "s3cret-pass")
    script = Script().on(stage, f"{code} {code // 100}.7.1 not owned by user login-name, s3cret-pass")
    known = {credentials.username: credentials.password}
    async with Receiver(keep=True, script=script, credentials=known, extensions=extensions) as receiver:
        connection = await connect(server_for(receiver, credentials=credentials))
        result = await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)
        connection.close()

    assert "login-name" not in repr(result)
    assert "s3cret-pass" not in repr(result)
    assert "not owned by user …, …" in repr(result) or code == 250


@pytest.mark.parametrize("content", [CONTENT, LARGE])
async def test_a_dot_that_may_not_be_said_leaves_nobody_with_the_mail(server_for: MakeServer, content: bytes) -> None:
    asked: list[list[str]] = []

    async def never(addresses: Collection[str]) -> bool:
        asked.append(list(addresses))
        return False

    script = Script().on(Stage.RCPT, "550 5.1.1 no", address=C)
    async with Receiver(keep=True, script=script) as receiver, connected(receiver, server_for) as connection:
        result = await transact(connection, ENVELOPE, content, connection.server.timeouts, never)
        assert asked == [[B, D]]
        assert list(result.replies) == [C]
        assert result.failure is not None
        assert (result.failure.phase, result.failure.cause) == (Phase.CONTENT, Cause.WITHHELD)
        assert not result.failure.in_doubt
        assert not result.failure.of_service
        assert not result.try_again
        assert not connection.usable
    assert receiver.mails == []
    assert b"\r\n.\r\n" not in receiver.sessions[0].received

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trustme

from app.inbox.receiver import (
    Answer,
    Drop,
    Endless,
    Hang,
    Overlook,
    Raw,
    ReceivedMail,
    Receiver,
    Reset,
    Script,
    Stage,
    Wait,
)

pytestmark = pytest.mark.usefixtures("idle_clock")


class Client:
    """A bare SMTP client: sends octets, reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        lines = []
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode()
            lines.append(line.removesuffix("\r\n"))
            if line[3:4] == " ":
                return "\n".join(lines)

    async def say(self, line: str | bytes) -> str:
        self.writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.reply()

    async def codes(self, *lines: str | bytes) -> list[str]:
        return [(await self.say(line))[:3] for line in lines]

    async def ended(self) -> bool:
        return await self.reader.read(1) == b""


@asynccontextmanager
async def client(
    receiver: Receiver, *, greeted: bool = True, context: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(
        receiver.host, receiver.port, ssl=context, server_hostname="localhost" if context else None
    )
    try:
        peer = Client(reader, writer)
        if greeted:
            assert (await peer.reply()).startswith("220 ")
            assert (await peer.say("EHLO client.example")).startswith("250")
        yield peer
    finally:
        writer.transport.abort()


ENVELOPE = ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "DATA")


async def send(peer: Client, content: bytes) -> str:
    assert await peer.codes(*ENVELOPE) == ["250", "250", "354"]
    return await peer.say(content + b".")


def kept(**options: object) -> Receiver:
    return Receiver(keep=True, **options)  # type: ignore[arg-type]


async def test_a_mail_is_kept_with_its_envelope_and_its_exact_content() -> None:
    async with kept() as receiver, client(receiver) as peer:
        await peer.say("MAIL FROM:<a@example.org> SIZE=12 BODY=8BITMIME")
        await peer.codes("RCPT TO:<b@example.org>", "rcpt to: <c@example.org>", "DATA")
        assert (await peer.say(b"Subject: x\r\n\r\n..\r\n...two\r\n.")).startswith("250 ")
        assert receiver.mails == [
            ReceivedMail(
                reverse_path="a@example.org",
                recipients=("b@example.org", "c@example.org"),
                content=b"Subject: x\r\n\r\n.\r\n..two\r\n",
                ehlo_name="client.example",
                username=None,
                tls=False,
                parameters={"SIZE": "12", "BODY": "8BITMIME"},
            )
        ]


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b"", b""),
        (b"\r\n", b"\r\n"),
        (b"..\r\n", b".\r\n"),
        (b"a\r\n..\r\n..\r\nb\r\n", b"a\r\n.\r\n.\r\nb\r\n"),
        (b"\xff\x00\r\n", b"\xff\x00\r\n"),
    ],
)
async def test_dot_stuffing_is_undone(sent: bytes, content: bytes) -> None:
    async with kept() as receiver, client(receiver) as peer:
        assert (await send(peer, sent)).startswith("250 ")
        assert receiver.mails[0].content == content


@pytest.mark.parametrize("smuggled", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\r\n.\r\r\n"])
async def test_only_crlf_dot_crlf_ends_the_content_and_bare_line_ends_are_refused(smuggled: bytes) -> None:
    async with kept() as receiver, client(receiver) as peer:
        reply = await send(peer, b"one" + smuggled + b"MAIL FROM:<evil@example.org>\r\n")
        assert reply.startswith("550 5.6.11 ")
        assert await peer.codes("NOOP") == ["250"]
        assert receiver.mails == []
        assert receiver.sessions[0].verbs.count("MAIL") == 1


async def test_commands_out_of_order_are_answered_503() -> None:
    async with kept() as receiver, client(receiver, greeted=False) as peer:
        await peer.reply()
        assert await peer.codes("MAIL FROM:<a@example.org>", "EHLO c") == ["503", "250"]
        assert await peer.codes("RCPT TO:<b@example.org>", "DATA", "STARTTLS") == ["503"] * 3
        assert await peer.codes("AUTH PLAIN AGEAYg==") == ["503"]
        assert await peer.codes(ENVELOPE[0], ENVELOPE[0], "DATA") == ["250", "503", "503"]


@pytest.mark.parametrize("command", ["RSET", "EHLO again", "HELO again"])
async def test_a_transaction_is_forgotten_after(command: str) -> None:
    async with kept() as receiver, client(receiver) as peer:
        assert await peer.codes(*ENVELOPE[:2], command, "DATA", "RCPT TO:<b@example.org>") == [
            "250",
            "250",
            "250",
            "503",
            "503",
        ]
        assert (await send(peer, b"x\r\n")).startswith("250 ")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("", "500"),
        ("HELLO there", "500"),
        ("EHLO", "501"),
        ("MAIL a@example.org", "501"),
        ("MAIL FROM:<a@example.org", "501"),
        ("MAIL FROM:<a@example.org> SIZE=1 SIZE=2", "501"),
        ("MAIL FROM:<a@example.org> SIZE=many", "501"),
        ("MAIL FROM:<a@example.org> RET=FULL", "555"),
        ("MAIL FROM:<j\u00fcrgen@example.org>", "553"),
        ("MAIL FROM:<j\u00fcrgen@example.org> SMTPUTF8", "250"),
        ('MAIL FROM:<"a > b"@example.org>', "250"),
        ("MAIL FROM:<@relay.example:a@example.org>", "250"),
        ("MAIL FROM:<>", "250"),
        ("RCPT TO:<>", "503"),
        ("VRFY a", "252"),
        ("NOOP " + "x" * 506, "500"),
        ("x" * 20_000, "500"),
        (b"\xff\xfe", "500"),
        (b"NOOP\0", "500"),
        (b"NOOP\rRSET", "500"),
    ],
)
async def test_command_syntax(command: str | bytes, code: str) -> None:
    async with kept() as receiver, client(receiver) as peer:
        assert await peer.codes(command, "RSET") == [code, "250"]


async def test_a_line_without_cr_is_refused_at_once() -> None:
    async with kept() as receiver, client(receiver) as peer:
        peer.writer.write(b"NOOP\n")
        assert (await peer.reply()).startswith("500 ")


async def test_garbage_ends_with_421() -> None:
    async with kept() as receiver, client(receiver, greeted=False) as peer:
        await peer.reply()
        peer.writer.write(b"\x16\x03\x01\n" * 50)
        replies = (await peer.reader.read()).decode().splitlines()
        assert replies[-1].startswith("421 ")
        assert all(reply.startswith("500 ") for reply in replies[:-1])


async def test_an_idle_client_is_sent_away() -> None:
    async with kept(idle_timeout=0.05) as receiver, client(receiver) as peer:
        assert (await peer.reply()).startswith("421 4.4.2 ")
        assert await peer.ended()


async def test_content_over_the_limit_is_refused_and_the_session_goes_on() -> None:
    async with kept(max_bytes=1000) as receiver, client(receiver) as peer:
        assert await peer.codes("MAIL FROM:<a@example.org> SIZE=1001") == ["552"]
        assert (await send(peer, b"x" * 70 + b"\r\n" + b"y" * 900_000 + b"\r\n")).startswith("552 5.3.4 ")
        assert (await send(peer, b"x" * 498 + b"\r\n" + b"x" * 498 + b"\r\n")).startswith("250 ")


async def test_a_text_line_holds_1000_octets() -> None:
    async with kept() as receiver, client(receiver) as peer:
        assert (await send(peer, b"x" * 998 + b"\r\n")).startswith("250 ")
        assert (await send(peer, b"." + b"." * 998 + b"\r\n")).startswith("250 ")
        assert (await send(peer, b"x" * 999 + b"\r\n")).startswith("550 5.6.0 ")


async def test_the_mail_is_taken_before_the_reply_and_451_is_said_when_that_fails() -> None:
    taken: list[ReceivedMail] = []

    async def on_mail(mail: ReceivedMail) -> None:
        if taken:
            raise OSError("disk full")
        taken.append(mail)

    async with Receiver(on_mail=on_mail) as receiver, client(receiver) as peer:
        assert (await send(peer, b"one\r\n")).startswith("250 ")
        assert (await send(peer, b"two\r\n")).startswith("451 4.3.0 ")
        assert [mail.content for mail in taken] == [b"one\r\n"]
        assert receiver.mails == []
        assert receiver.sessions == []


async def test_plain_and_login_are_checked() -> None:
    async with kept(credentials={"bob": "s3cret"}) as receiver:
        async with client(receiver) as peer:
            assert (await peer.say("EHLO c")).endswith("AUTH PLAIN LOGIN")
            assert await peer.codes("MAIL FROM:<a@example.org>") == ["530"]
            assert await peer.codes("AUTH PLAIN AGJvYgB3cm9uZw==") == ["535"]
            assert await peer.codes("AUTH PLAIN", "AGJvYgBzM2NyZXQ=", "AUTH PLAIN x") == ["334", "235", "503"]
            assert (await send(peer, b"x\r\n")).startswith("250 ")
        async with client(receiver) as peer:
            assert await peer.codes("AUTH LOGIN", "Ym9i", "czNjcmV0") == ["334", "334", "235"]
        async with client(receiver) as peer:
            assert await peer.codes("AUTH LOGIN Ym9i", "*", "AUTH CRAM-MD5", "AUTH PLAIN !") == [
                "334",
                "501",
                "504",
                "501",
            ]
        assert [mail.username for mail in receiver.mails] == ["bob"]


async def test_starttls_forgets_what_was_said_before(ca: trustme.CA, tls_server: ssl.SSLContext) -> None:
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    async with kept(tls=tls_server) as receiver, client(receiver) as peer:
        assert "STARTTLS" in await peer.say("EHLO c")
        peer.writer.write(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n")
        assert (await peer.reply()).startswith("220 ")
        await peer.writer.start_tls(trusting, server_hostname="localhost")
        assert await peer.codes("MAIL FROM:<a@example.org>") == ["503"]
        assert "STARTTLS" not in await peer.say("EHLO c")
        assert (await send(peer, b"x\r\n")).startswith("250 ")
        assert receiver.mails[0].tls
        assert receiver.mails[0].reverse_path == "a@example.org"
        assert receiver.sessions[0].tls


async def test_implicit_tls(ca: trustme.CA, tls_server: ssl.SSLContext) -> None:
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    async with kept(tls=tls_server, implicit_tls=True) as receiver, client(receiver, context=trusting) as peer:
        assert (await send(peer, b"x\r\n")).startswith("250 ")
        assert receiver.mails[0].tls


async def test_commands_may_be_pipelined() -> None:
    async with kept() as receiver, client(receiver) as peer:
        peer.writer.write("\r\n".join(ENVELOPE).encode() + b"\r\n")
        assert [(await peer.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        peer.writer.write(b"x\r\n.\r\nQUIT\r\n")
        assert [(await peer.reply())[:3] for _ in range(2)] == ["250", "221"]
        assert await peer.ended()


async def test_scripted_replies_and_their_conditions() -> None:
    script = (
        Script()
        .on(Stage.RCPT, "550 5.1.1 no such\nuser", address="gone@example.org")
        .on(Stage.RCPT, "452 4.2.2 full", times=1)
        .on(Stage.MAIL, Answer("451 4.7.0 enough", close=True), after=1)
    )
    async with kept(script=script) as receiver, client(receiver) as peer:
        await peer.say(ENVELOPE[0])
        assert await peer.say("RCPT TO:<gone@example.org>") == "550-5.1.1 no such\n550 user"
        assert await peer.codes(ENVELOPE[1], ENVELOPE[1], "DATA") == ["452", "250", "354"]
        assert await peer.codes(b"x\r\n.", ENVELOPE[0]) == ["250", "451"]
        assert await peer.ended()
        assert receiver.mails[0].recipients == ("b@example.org",)


async def test_a_dropped_greeting() -> None:
    script = Script().on(Stage.GREETING, Drop())
    async with kept(script=script) as receiver, client(receiver, greeted=False) as peer:
        assert await peer.reader.read() == b""


async def test_a_greeting_of_garbage() -> None:
    script = Script().on(Stage.GREETING, Raw(b"garbage\r\n"))
    async with kept(script=script) as receiver, client(receiver, greeted=False) as peer:
        peer.writer.write(b"QUIT\r\n")
        assert await peer.reader.read() == b"garbage\r\n221 2.0.0 Goodbye\r\n"


async def test_421_ends_the_session() -> None:
    async with kept(script=Script().on(Stage.NOOP, "421 4.3.2 bye")) as receiver, client(receiver) as peer:
        assert await peer.codes("NOOP") == ["421"]
        assert await peer.ended()


async def test_a_reset_connection_is_a_reset() -> None:
    async with kept(script=Script().on(Stage.NOOP, Reset())) as receiver, client(receiver) as peer:
        with pytest.raises(ConnectionResetError):
            await peer.say("NOOP")


@pytest.mark.parametrize(("stage", "kept_mails"), [(Stage.DOT, 0), (Stage.ACCEPTED, 1)])
async def test_a_drop_before_and_after_the_mail_was_taken(stage: Stage, kept_mails: int) -> None:
    async with kept(script=Script().on(stage, Drop())) as receiver, client(receiver) as peer:
        with pytest.raises(asyncio.IncompleteReadError):
            await send(peer, b"x\r\n")
        assert len(receiver.mails) == kept_mails


async def test_a_reply_can_be_held_back() -> None:
    event = asyncio.Event()
    script = Script().on(Stage.ACCEPTED, Wait(event)).on(Stage.ACCEPTED, "250 2.0.0 at last")
    async with kept(script=script) as receiver, client(receiver) as peer:
        sending = asyncio.ensure_future(send(peer, b"x\r\n"))
        await receiver.wait_for(1)
        assert not sending.done()
        event.set()
        assert await sending == "250 2.0.0 at last"


@pytest.mark.parametrize(
    ("stage", "provocation"), [(Stage.NOOP, b"NOOP\r\n"), (Stage.CONTENT, b"x\r\n"), (Stage.QUIT, b"QUIT\r\n")]
)
async def test_a_hanging_session_does_not_hinder_stopping(stage: Stage, provocation: bytes) -> None:
    async with kept(script=Script().on(stage, Hang())) as receiver, client(receiver) as peer:
        if stage is Stage.CONTENT:
            await peer.codes(*ENVELOPE)
        peer.writer.write(provocation)
        await receiver.stop()
        with suppress(ConnectionResetError):
            assert await peer.ended()


async def test_no_more_sessions_than_allowed() -> None:
    async with kept(max_sessions=1) as receiver, client(receiver), client(receiver, greeted=False) as second:
        assert (await second.reply()).startswith("421 ")
        assert await second.ended()


async def test_one_session_too_many_may_meet_something_else() -> None:
    receiver = kept(max_sessions=1, excess=Drop())
    async with receiver, client(receiver), client(receiver, greeted=False) as second:
        assert await second.ended()


async def test_pipelined_commands_may_be_overlooked() -> None:
    async with kept(script=Script().on(Stage.MAIL, Overlook())) as receiver, client(receiver) as peer:
        peer.writer.write("\r\n".join(ENVELOPE).encode() + b"\r\n")
        assert (await peer.reply()).startswith("250 ")
        assert await peer.codes("NOOP", *ENVELOPE[1:]) == ["250", "250", "354"]
        assert receiver.sessions[0].verbs == ["EHLO", "MAIL", "NOOP", "RCPT", "DATA"]


async def test_an_endless_reply_ends_with_the_client() -> None:
    async with kept(script=Script().on(Stage.NOOP, Endless(b"250-on and on\r\n"))) as receiver:
        async with client(receiver) as peer:
            peer.writer.write(b"NOOP\r\n")
            for _ in range(3):
                assert await peer.reader.readline() == b"250-on and on\r\n"
        async with client(receiver) as peer:
            assert await peer.codes("QUIT") == ["221"]


async def test_ehlo_and_helo_are_scripted_apart() -> None:
    receiver = kept(script=Script().on(Stage.EHLO, "502 5.5.1 what?"))
    async with receiver, client(receiver, greeted=False) as peer:
        await peer.reply()
        assert await peer.codes("EHLO c", "HELO c") == ["502", "250"]


async def test_waiting_for_mails_needs_keep() -> None:
    async with Receiver() as receiver:
        with pytest.raises(ValueError, match="keeps no mails"):
            await receiver.wait_for(1)

"""Parameters of MAIL: said where the server offers them, and done without where it then refuses them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app.inbox.receiver import Receiver, Script, Stage
from app.mail.envelope import Envelope
from app.mail.reply import Reply
from app.smtp.connection import Connection, connect
from app.smtp.server import Server
from app.smtp.transaction import TransactionResult, transact

MakeServer = Callable[..., Server]

CONTENT = b"Subject: x\r\n\r\nhello\r\n"
ENVELOPE = Envelope("a@example.org", ("b@example.org", "c@example.org", "d@example.org"))
B, C, D = ENVELOPE.recipients
UMLAUT = "j\u00fcrgen@example.org"
TAKEN = Reply(250, "Taken", "2.0.0")
LIES = "250 receiver.invalid\n250 SIZE 99999999\n250 8BITMIME\n250 SMTPUTF8"


@asynccontextmanager
async def connected(receiver: Receiver, server_for: MakeServer) -> AsyncIterator[Connection]:
    connection = await connect(server_for(receiver))
    try:
        yield connection
    finally:
        connection.close()


async def sent(
    receiver: Receiver, server_for: MakeServer, envelope: Envelope = ENVELOPE, content: bytes = CONTENT
) -> TransactionResult:
    async with connected(receiver, server_for) as connection:
        return await transact(connection, envelope, content, connection.server.timeouts)


async def test_size_is_compared_before_anything_is_sent(server_for: MakeServer) -> None:
    async with Receiver(keep=True, max_bytes=len(CONTENT) - 1) as receiver:
        result = await sent(receiver, server_for)
        assert {(reply.code, reply.enhanced_code) for reply in result.replies.values()} == {(552, "5.3.4")}
        assert receiver.sessions[0].verbs == ["EHLO"]


@pytest.mark.parametrize("parameter", ["", " 0", " much", " 99999999999999999999999"])
async def test_a_size_without_a_limit_limits_nothing(parameter: str, server_for: MakeServer) -> None:
    script = Script().on(Stage.EHLO, f"250 receiver.invalid\n250 SIZE{parameter}")
    async with Receiver(script=script) as receiver:
        result = await sent(receiver, server_for)
        assert result.replies == {B: TAKEN, C: TAKEN, D: TAKEN}


async def test_a_server_without_extensions_gets_plain_commands(server_for: MakeServer) -> None:
    async with Receiver(keep=True, extensions=()) as receiver:
        result = await sent(receiver, server_for)
        assert result.replies == {B: TAKEN, C: TAKEN, D: TAKEN}
        assert receiver.sessions[0].commands[1] == "MAIL FROM:<a@example.org>"


@pytest.mark.parametrize(
    ("envelope", "reached"),
    [
        (Envelope("a@example.org", (B, UMLAUT)), (B,)),
        (Envelope(UMLAUT, (B,)), ()),
        (Envelope("a@example.org", (B,), smtputf8=True), ()),
        (Envelope("a@example.org", (UMLAUT,)), ()),
    ],
)
async def test_smtputf8_is_needed_for_a_non_ascii_local_part(
    envelope: Envelope, reached: tuple[str, ...], server_for: MakeServer
) -> None:
    async with Receiver(keep=True, extensions=("8BITMIME",)) as receiver:
        result = await sent(receiver, server_for, envelope)
        unreached = [address for address in envelope.recipients if address not in reached]
        assert all(
            (result.replies[address].code, result.replies[address].enhanced_code) == (550, "5.6.7")
            for address in unreached
        )
        assert tuple(address for mail in receiver.mails for address in mail.recipients) == reached
        assert not any("SMTPUTF8" in command for command in receiver.sessions[0].commands)
    async with Receiver(keep=True) as receiver:
        result = await sent(receiver, server_for, envelope)
        assert {reply.code for reply in result.replies.values()} == {250}
        assert receiver.mails[0].recipients == envelope.recipients
        assert "SMTPUTF8" in receiver.mails[0].parameters


async def test_eight_bit_content_is_announced(server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        await sent(receiver, server_for, content="Subject: ä\r\n\r\n".encode())
        assert receiver.mails[0].parameters["BODY"] == "8BITMIME"


@pytest.mark.parametrize("pipelining", ["", "\n250 PIPELINING"])
async def test_parameters_that_were_offered_and_are_refused_are_done_without(
    pipelining: str, server_for: MakeServer
) -> None:
    receiver = Receiver(keep=True, extensions=(), script=Script().on(Stage.EHLO, LIES + pipelining))
    async with receiver, connected(receiver, server_for) as connection:
        for _ in range(2):
            result = await transact(connection, ENVELOPE, CONTENT, connection.server.timeouts)
            assert result == TransactionResult({B: TAKEN, C: TAKEN, D: TAKEN})
        said = [command for command in receiver.sessions[0].commands if command.startswith("MAIL")]
        assert said == [f"MAIL FROM:<a@example.org> SIZE={len(CONTENT)}", *["MAIL FROM:<a@example.org>"] * 2]


async def test_smtputf8_that_was_offered_and_is_refused_fails_only_who_needs_it(server_for: MakeServer) -> None:
    async with Receiver(keep=True, extensions=(), script=Script().on(Stage.EHLO, LIES)) as receiver:
        result = await sent(receiver, server_for, Envelope("a@example.org", (B, UMLAUT)))
        assert {address: reply.code for address, reply in result.replies.items()} == {B: 250, UMLAUT: 550}
        assert receiver.mails[0].recipients == (B,)


async def test_a_refusal_of_no_parameter_is_not_said_against_an_extension(server_for: MakeServer) -> None:
    script = Script().on(Stage.MAIL, "555 5.5.4 never").on(Stage.RCPT, "555 5.5.4 never")
    async with Receiver(keep=True, script=script) as receiver:
        result = await sent(receiver, server_for)
        assert {reply.code for reply in result.replies.values()} == {555}
        assert receiver.sessions[0].verbs.count("MAIL") == 2
    async with Receiver(keep=True, script=Script().on(Stage.RCPT, "555 5.5.4 never")) as receiver:
        await sent(receiver, server_for)
        assert receiver.sessions[0].verbs.count("MAIL") == 1

"""BDAT at the receiver: octets are octets, and a refusal leaves the transaction as it is."""

import pytest

from app.inbox.receiver import EXTENSIONS, Receiver
from tests.inbox.test_receiver import Client, client

CHUNKING = (*EXTENSIONS, "CHUNKING")
ENVELOPE = ("EHLO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>")


async def bdat(peer: Client, octets: bytes, *, last: bool = False) -> str:
    peer.writer.write(b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets)
    return await peer.reply()


async def test_chunks_are_put_together_as_they_are() -> None:
    chunks = [b".", b"\r\n.\r", b"\nNOOP\r\n", b"\r\n.\r\n"]
    async with Receiver(keep=True, extensions=CHUNKING) as receiver, client(receiver) as peer:
        assert "CHUNKING" in await peer.say(ENVELOPE[0])
        for _ in range(2):
            assert await peer.codes(*ENVELOPE[1:]) == ["250", "250"]
            assert [(await bdat(peer, chunk))[:3] for chunk in chunks] == ["250"] * 4
            assert (await bdat(peer, b"", last=True))[:3] == "250"
        assert [mail.content for mail in receiver.mails] == [b"".join(chunks)] * 2


@pytest.mark.parametrize(
    ("lines", "octets", "code"),
    [
        (ENVELOPE[:2], b"x\r\n", "503"),
        (ENVELOPE, b"bare\n", "550"),
        (ENVELOPE, b"x" * 1001 + b"\r\n", "550"),
        (ENVELOPE, b"x" * 5001, "552"),
    ],
)
async def test_what_is_refused(lines: tuple[str, ...], octets: bytes, code: str) -> None:
    async with Receiver(keep=True, extensions=CHUNKING, max_bytes=5000) as receiver, client(receiver) as peer:
        await peer.codes(*lines)
        assert (await bdat(peer, octets, last=True))[:3] == code
        if code != "552":
            assert await peer.codes("MAIL FROM:<c@example.org>", "RSET", "MAIL FROM:<c@example.org>") == [
                *("503", "250", "250")
            ]
        assert receiver.mails == []


@pytest.mark.parametrize(("argument", "code"), [("", "501"), ("x", "501"), ("1 FIRST", "501"), ("-1", "501")])
async def test_what_is_no_chunk(argument: str, code: str) -> None:
    async with Receiver(extensions=CHUNKING) as receiver, client(receiver) as peer:
        assert (await peer.codes(*ENVELOPE, f"BDAT {argument}"))[-1] == code


async def test_it_is_not_known_where_it_is_not_offered() -> None:
    async with Receiver() as receiver, client(receiver) as peer:
        assert "CHUNKING" not in await peer.say(ENVELOPE[0])
        assert (await peer.say("BDAT 1"))[:3] == "500"

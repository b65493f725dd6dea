"""A lost mail and a doubled one are noticed, and the sink counts what a client waits for."""

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiosmtplib import SMTP

from benchmarks.load.open_loop import Client, OpenLoop
from benchmarks.load.requests import DIGITS, GRAPHQL_BYTES, REST_BYTES, SEQUENCE, graphql_post, rest_post
from benchmarks.needs import missing
from benchmarks.run import Wrong
from benchmarks.sink import Behaviour, Ledger, serve
from benchmarks.stored import check_numbers, number_of

ROOT = Path(__file__).parents[2]
OF_PEERS = {"django_sender", "fastapi_mail_sender"}
"""What they import is in the extra `bench` alone."""
SLOW = 0.01


@pytest.fixture
async def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def port(ledger: Ledger) -> AsyncIterator[int]:
    server = await serve(ledger, Behaviour(chunking=True))
    async with server:
        yield server.sockets[0].getsockname()[1]


async def speak(port: int, *groups: tuple[bytes, bytes]) -> None:
    """Write each group, and read up to what ends its reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    for group, end in groups:
        writer.write(group)
        await reader.readuntil(end)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.walk_packages([str(ROOT / "benchmarks")], "benchmarks.")]
)
def test_every_module_can_be_imported(name: str) -> None:
    if name.rpartition(".")[2] in OF_PEERS:
        compile((ROOT / name.replace(".", "/")).with_suffix(".py").read_text(), name, "exec")
    else:
        importlib.import_module(name)


def test_a_peer_that_is_not_installed_is_named_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert {lack.split()[0] for lack in missing(["end_to_end"])} >= {"wrk", "postfix", "smtp-source", "node"}
    assert list(missing(["mime", "claim"])) == []


async def test_a_lost_and_a_doubled_mail_are_noticed(ledger: Ledger, port: int) -> None:
    async with SMTP(hostname="127.0.0.1", port=port, start_tls=False) as smtp:
        for number in (1, 2, 2, 4, 9):
            await smtp.sendmail("a@b.example", [f"m{number:08d}@load.example"], "Subject: x\r\n\r\nx\r\n.y\r\n")
    told = ledger.report(1, 4)
    assert (told["messages"], told["missing"], told["doubled"], told["others"]) == (5, 1, 1, 1)
    assert told["examples"] == [3, 2, 9]
    assert told["waits"] == 5 * 4, "aiosmtplib waits for MAIL, RCPT, DATA and the dot"


async def test_two_mails_wait_three_times_where_the_envelope_of_the_next_is_written_behind_the_dot(
    ledger: Ledger, port: int
) -> None:
    envelope = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<m00000001@x>\r\nRCPT TO:<m00000002@x>\r\nDATA\r\n"
    following = b"x\r\n.\r\n" + envelope.replace(b"1@", b"3@").replace(b"2@", b"4@")
    await speak(port, (envelope, b"354 go on\r\n"), (following, b"354 go on\r\n"), (b".\r\nQUIT\r\n", b"221 bye\r\n"))
    told = ledger.report(1, 4)
    assert (told["messages"], told["recipients"], told["missing"], told["waits"]) == (2, 4, 0, 3)


async def test_chunks_are_taken_by_their_length(ledger: Ledger, port: int) -> None:
    mail = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<m00000001@x>\r\nBDAT 5\r\n.\r\nQUBDAT 3 LAST\r\nIT\nQUIT\r\n"
    await speak(port, (mail, b"221 bye\r\n"))
    assert ledger.report(1, 1)["messages"] == 1


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([1, 2], "1 are lost"),
        ([1, 2, 3, 3], "1 are doubled"),
        ([1, 2, 3, 4], "1 are others"),
        ([-1, 1, 2, 3], "others"),
    ],
)
def test_what_is_stored_has_to_be_what_was_acknowledged(numbers: list[int], told: str) -> None:
    check_numbers([3, 1, 2], 3)
    with pytest.raises(Wrong, match=told):
        check_numbers(numbers, 3)


@pytest.mark.parametrize(
    ("email", "number"), [("m00000012@load.example", 12), ("other@load.example", -1), ("12@load.example", 12)]
)
def test_a_recipient_has_the_number_of_its_mail(email: str, number: int) -> None:
    assert number_of(email) == number


def test_bodies_have_the_size_that_is_told() -> None:
    for post, size in ((rest_post("key"), REST_BYTES), (graphql_post("key"), GRAPHQL_BYTES)):
        header, _, body = post.raw().replace(SEQUENCE, "7" * DIGITS).partition("\r\n\r\n")
        assert f"Content-Length: {len(body.encode())}" in header
        assert len(body.encode()) == pytest.approx(size, abs=2)


async def test_a_request_that_finds_no_connection_is_late_all_the_same() -> None:
    loop = OpenLoop(b"GET / HTTP/1.1\r\n\r\n", rate=1000, seconds=0.02, warm_up=0, overtime=0.05)
    told = await loop.run()
    assert (told["sent"], told["unsent"]) == (0, 20)
    assert told["p50"] >= 50


async def test_a_latency_counts_from_when_the_request_was_due() -> None:
    """The server answers one at a time, and each only once the next is due."""
    gone = asyncio.Event()

    async def answer_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            await asyncio.sleep(SLOW)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()
        await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(answer_slowly, "127.0.0.1", 0) as server:
        loop = OpenLoop(b"GET / HTTP/1.1\r\n\r\n", rate=500, seconds=0.02, warm_up=0, overtime=60)
        await asyncio.get_running_loop().create_connection(lambda: Client(loop), *server.sockets[0].getsockname())
        told = await loop.run()
        await gone.wait()
    assert (told["sent"], told["unsent"], told["refused"]) == (10, 0, 0)
    assert told["max"] >= 10 * SLOW * 1000 - 20, "the last one waited for all before it, less the time until it was due"

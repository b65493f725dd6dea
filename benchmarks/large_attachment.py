"""What mails with a large attachment do to everybody else who asks the same process.

    python -m benchmarks.large_attachment --mails 8 --size 25

Sends mails through REST and GraphQL, side by side, to one `heliograph serve` that delivers them to a receiver: first
small ones, then `--mails` with an attachment of `--size` MiB. Another process asks /health/live all the while. Prints
how long the answers took when nothing else went on, beside the small mails and beside the large ones. The exit status
is 1 when a mail was lost, came twice or changed, or an answer was not what it must be; never for a time.
"""

import asyncio
import multiprocessing
import os
import sys
import time
from base64 import b64encode, encodebytes
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import httpx2
import orjson

from app.inbox.receiver import ReceivedMail, Receiver
from tests.journeys.doors import SEND_EMAIL, Doors
from tests.journeys.installation import database_options, new_installation
from tests.journeys.ledger import Ledger
from tests.journeys.program import PATIENCE, Heliograph

MEBIBYTE = 1024 * 1024
SMALL_SIZE = 1024
IDLE_SECONDS = 3
PAUSE = 0.002


@dataclass(frozen=True, slots=True)
class Findings:
    """How long the answers took, in seconds and in ascending order; what is not as it must be."""

    idle: Sequence[float]
    small: Sequence[float]
    large: Sequence[float]
    broken: Sequence[str]

    def __str__(self) -> str:
        phases = (("idle", self.idle), ("beside small mails", self.small), ("beside large ones", self.large))
        lines = [
            f"{name:19} p50 {_rank(times, 50) * 1000:.1f} ms, p99 {_rank(times, 99) * 1000:.1f} ms,"
            f" worst {times[-1] * 1000:.1f} ms, of {len(times)}"
            for name, times in phases
        ]
        p50, p99, worst = (_rank(self.large, rank) / _rank(self.small, rank) for rank in (50, 99, 100))
        return "\n".join([*lines, f"large to small      p50 {p50:.2f}, p99 {p99:.2f}, worst {worst:.2f}"])


def _rank(ascending: Sequence[float], percent: int) -> float:
    return ascending[min(len(ascending) * percent // 100, len(ascending) - 1)]


async def large_attachment(installed: Heliograph, *, mails: int, small: int, size: int) -> Findings:
    """Ask while nothing goes on, beside `small` mails, and beside `mails` with an attachment of `size` octets."""
    installed = installed.having(lease=60, lease_renewal=20)
    await installed.migrate()
    arrivals = Arrivals()
    async with Receiver(on_mail=arrivals.take) as receiver, installed.serving() as server:
        await server.doors.graphql.create_service("relay", port=receiver.port)
        phases: list[list[float]] = []
        for name, count, octets in (("small", small, SMALL_SIZE), ("large", mails, size)):
            arrivals.expect(name, os.urandom(octets))
            async with _asking(server.url) as times:
                await _send(server.doors, arrivals, name, count)
                await arrivals.ledger.wait_for(len(arrivals.sent))
            phases.append(sorted(times))
        async with _asking(server.url) as idle:
            await asyncio.sleep(IDLE_SECONDS)
    small_mails, large_mails = phases
    return Findings(sorted(idle), small_mails, large_mails, list(arrivals.broken()))


class Arrivals:
    """What was sent, and what arrived of it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.sent: list[str] = []
        self.attachments: dict[str, str] = {}
        self._expected: dict[str, bytes] = {}
        self._changed: set[str] = set()
        self.wrong_answers: list[str] = []

    def expect(self, name: str, attachment: bytes) -> None:
        """From now on, mail to `<name>-…` has this attachment."""
        self.attachments[name] = b64encode(attachment).decode()
        self._expected[name] = encodebytes(attachment).replace(b"\n", b"\r\n")

    async def take(self, mail: ReceivedMail) -> None:
        """The receiver's `on_mail`."""
        if self._expected[mail.recipients[0].partition("-")[0]] not in mail.content:
            self._changed.add(mail.recipients[0])
        await self.ledger.take(mail)

    def broken(self) -> Iterator[str]:
        """What is not as it must be."""
        yield from self.wrong_answers
        for recipient in self.sent:
            copies = len(self.ledger.copies.get(recipient, ()))
            if copies != 1:
                yield f"the mail to {recipient} arrived {copies} times"
        for recipient in self._changed:
            yield f"the attachment to {recipient} was changed"


async def _send(doors: Doors, arrivals: Arrivals, name: str, mails: int) -> None:
    """Half of the mails through each door, one after the other, each with its verdict awaited."""
    attachment = {"name": "data.bin", "content": arrivals.attachments[name]}
    mail = {"subject": "Hello", "attachments": [attachment]}

    async def through_rest(recipient: str) -> None:
        answer = await _post(doors, "/api/v2/relay", mail | {"to": recipient})
        if answer.status_code != 200 or answer.json() != {"count": 1} or answer.headers["x-message-status"] != "sent":
            arrivals.wrong_answers.append(f"REST answered {answer.status_code}: {answer.text[:200]}")

    async def through_graphql(recipient: str) -> None:
        given = mail | {"service": "relay", "to": [{"email": recipient}], "waitSeconds": PATIENCE}
        answer = await _post(doors, "/graphql", {"query": SEND_EMAIL, "variables": {"input": given}})
        if answer.status_code != 200 or answer.json()["data"]["done"]["message"]["state"] != "SENT":
            arrivals.wrong_answers.append(f"GraphQL answered {answer.status_code}: {answer.text[:200]}")

    async def client(door: str, count: int) -> None:
        for number in range(count):
            recipient = f"{name}-{door}-{number}@x.example"
            arrivals.sent.append(recipient)
            await (through_rest if door == "rest" else through_graphql)(recipient)

    async with asyncio.TaskGroup() as clients:
        clients.create_task(client("rest", mails - mails // 2))
        clients.create_task(client("graphql", mails // 2))


async def _post(doors: Doors, path: str, body: object) -> httpx2.Response:
    headers = {"X-API-Key": doors.api_key or "", "Content-Type": "application/json"}
    return await doors.http.post(path, content=orjson.dumps(body), headers=headers, timeout=PATIENCE * 2)


@asynccontextmanager
async def _asking(url: str) -> AsyncIterator[list[float]]:
    """Ask /health/live from another process while the block runs; then the list has how long each answer took."""
    times: list[float] = []
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    asker = spawning.Process(target=_ask, args=(url, theirs))
    asker.start()
    try:
        await asyncio.to_thread(ours.recv)
        yield times
        ours.send(None)
        times += await asyncio.to_thread(ours.recv)
    finally:
        asker.kill()
        await asyncio.to_thread(asker.join)


def _ask(url: str, wire: Connection) -> None:
    """Say when the first answer was there; then ask until told to stop, and say how long each answer took."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    _time_one(connection)
    wire.send(None)
    times = []
    while not wire.poll(PAUSE):
        times.append(_time_one(connection))
    wire.send(times)


def _time_one(connection: HTTPConnection) -> float:
    started = time.perf_counter()
    connection.request("GET", "/health/live")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return time.perf_counter() - started


def main() -> int:
    """The program; returns its exit status."""
    parser = database_options(__doc__)
    parser.add_argument("--mails", type=int, default=8, help="with the large attachment")
    parser.add_argument("--small", type=int, default=200, help="mails with a small one, before")
    parser.add_argument("--size", type=float, default=25, help="of the large attachment, in MiB")
    options = parser.parse_args()
    with new_installation(options) as installed:
        size = int(options.size * MEBIBYTE)
        findings = asyncio.run(large_attachment(installed, mails=options.mails, small=options.small, size=size))
    print(findings)
    print("\n".join(f"BROKEN: {promise}" for promise in findings.broken) or "every promise held")
    return 1 if findings.broken else 0


if __name__ == "__main__":
    sys.exit(main())

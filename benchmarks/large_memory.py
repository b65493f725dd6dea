"""How much memory one mail with a large attachment takes, and how long it keeps everybody else waiting.

    python -m benchmarks.large_memory --size 25 --rounds 3

One `heliograph serve --no-worker` takes the mails, one `heliograph worker` delivers them to a receiver here. After some
small mails, each round sends one mail with an attachment of `--size` MiB by each way: REST JSON, REST multipart, and
GraphQL JSON. Prints the peak of each process above what it had before, over the size of the attachment, and the worst
answer of /health/live meanwhile. The exit status is 1 when a mail was lost, came twice or changed; never for a figure.
Only on Linux.
"""

import asyncio
import os
import statistics
import sys
from base64 import b64decode
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson

from app.inbox.receiver import Receiver
from benchmarks.large_attachment import MEBIBYTE, SMALL_SIZE, Arrivals, _asking
from tests.journeys.doors import SEND_EMAIL, Doors
from tests.journeys.installation import database_options, new_installation
from tests.journeys.program import PATIENCE, Heliograph, Process

WARMING_MAILS = 5
SETTLE_SECONDS = 1.0


@dataclass(slots=True)
class Figures:
    """Of each way, what each round took: peaks in bytes above what there was, and the worst answer in seconds."""

    size: int
    api: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    worker: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    worst: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __str__(self) -> str:
        lines = [f"{'':10} {'API / size':>22} {'worker / size':>22} {'worst answer, ms':>22}"]
        for way in self.api:
            cells = (
                _cell([peak / self.size for peak in self.api[way]], 2),
                _cell([peak / self.size for peak in self.worker[way]], 2),
                _cell([1000 * seconds for seconds in self.worst[way]], 1),
            )
            lines.append(f"{way:10} " + " ".join(f"{cell:>22}" for cell in cells))
        return "\n".join(lines)


def _cell(values: list[float], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


async def large_memory(installed: Heliograph, *, size: int, rounds: int) -> tuple[Figures, list[str]]:
    """The figures, and what is not as it must be."""
    installed = installed.having(lease=60, lease_renewal=20)
    await installed.migrate()
    arrivals, figures = Arrivals(), Figures(size)
    async with (
        Receiver(on_mail=arrivals.take) as receiver,
        installed.serving("--no-worker") as server,
        _delivering(installed) as worker,
    ):
        await server.doors.graphql.create_service("relay", port=receiver.port)
        arrivals.expect("small", os.urandom(SMALL_SIZE))
        for number in range(WARMING_MAILS):
            for way, send in WAYS.items():
                await _one(server.doors, arrivals, f"small-{way}-{number}", send)
        arrivals.expect("large", os.urandom(size))
        api, delivering = Memory(server.running.pid), Memory(worker.running.pid)
        for number in range(rounds):
            for way, send in WAYS.items():
                api.forget()
                delivering.forget()
                async with _asking(server.url) as times:
                    await _one(server.doors, arrivals, f"large-{way}-{number}", send)
                figures.api[way].append(api.peak())
                figures.worker[way].append(delivering.peak())
                figures.worst[way].append(max(times))
                await asyncio.sleep(SETTLE_SECONDS)
    return figures, list(arrivals.broken())


@asynccontextmanager
async def _delivering(installed: Heliograph) -> AsyncIterator[Process]:
    worker = await installed.start("worker")
    try:
        yield worker
    finally:
        await worker.kill()


class Memory:
    """What a process takes above what it had when this was made."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._clear = Path(f"/proc/{pid}/clear_refs")
        self._idle = self._read("VmRSS")

    def forget(self) -> None:
        """What it took at most so far."""
        self._clear.write_text("5")

    def peak(self) -> int:
        """The most since then, in bytes."""
        return max(0, self._read("VmHWM") - self._idle)

    def _read(self, name: str) -> int:
        lines = self._status.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


async def _one(doors: Doors, arrivals: Arrivals, recipient: str, send: "Way") -> None:
    """Send it, and wait until it has arrived."""
    address = f"{recipient}@x.example"
    arrivals.sent.append(address)
    answer = await send(doors, address, arrivals.attachments[recipient.partition("-")[0]])
    if answer.status_code not in (200, 202):
        arrivals.wrong_answers.append(f"{recipient} was answered {answer.status_code}: {answer.text[:200]}")
    await arrivals.ledger.wait_for(len(arrivals.sent))


async def _rest(doors: Doors, recipient: str, attachment: str) -> httpx2.Response:
    body = {"to": recipient, "subject": "Hello", "attachments": [{"name": "data.bin", "content": attachment}]}
    return await _post(doors, "/api/v2/relay", orjson.dumps(body), "application/json")


async def _graphql(doors: Doors, recipient: str, attachment: str) -> httpx2.Response:
    mail: Mapping[str, Any] = {
        "service": "relay",
        "to": [{"email": recipient}],
        "subject": "Hello",
        "attachments": [{"name": "data.bin", "content": attachment}],
    }
    body = {"query": SEND_EMAIL, "variables": {"input": mail}}
    return await _post(doors, "/graphql", orjson.dumps(body), "application/json")


async def _multipart(doors: Doors, recipient: str, attachment: str) -> httpx2.Response:
    fields = b"".join(
        b'--mark\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % field
        for field in ((b"to", recipient.encode()), (b"subject", b"Hello"))
    )
    file = b'--mark\r\nContent-Disposition: form-data; name="file"; filename="data.bin"\r\n\r\n%s\r\n--mark--\r\n'
    body = fields + file % b64decode(attachment)
    return await _post(doors, "/api/v2/relay", body, "multipart/form-data; boundary=mark")


async def _post(doors: Doors, path: str, body: bytes, content_type: str) -> httpx2.Response:
    headers = {"X-API-Key": doors.api_key or "", "Content-Type": content_type, "Prefer": "respond-async"}
    return await doors.http.post(path, content=body, headers=headers, timeout=PATIENCE * 2)


Way = Callable[[Doors, str, str], Awaitable[httpx2.Response]]
WAYS: Mapping[str, Way] = {"rest": _rest, "multipart": _multipart, "graphql": _graphql}


def main() -> int:
    """The program; returns its exit status."""
    parser = database_options(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="large mails by each way")
    parser.add_argument("--size", type=float, default=25, help="of the attachment, in MiB")
    options = parser.parse_args()
    with new_installation(options) as installed:
        size = int(options.size * MEBIBYTE)
        figures, broken = asyncio.run(large_memory(installed, size=size, rounds=options.rounds))
    print(figures)
    print("\n".join(f"BROKEN: {promise}" for promise in broken) or "every promise held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""An open loop: requests at a given rate, whatever becomes of them; a latency counts from when its request was due.

    python -m benchmarks.load.open_loop URL REQUEST-FILE RATE SECONDS [--connections 128]

A request that finds no free connection waits for one, and its wait is part of its latency; so is that of those that
could not be sent at all within the time. Writes one line of JSON.
"""

import argparse
import asyncio
import json
import time
from collections import deque
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from benchmarks.load.requests import DIGITS, SEQUENCE
from benchmarks.spread import percentile

WARM_UP = 1.0
OVERTIME = 5.0
TICK = 0.001


class OpenLoop:
    """The schedule, the free connections and the latencies."""

    def __init__(
        self, request: bytes, rate: float, seconds: float, warm_up: float = WARM_UP, overtime: float = OVERTIME
    ) -> None:
        self._pieces = request.split(SEQUENCE.encode())
        self._rate = rate
        self._uncounted = int(rate * warm_up)
        self._count = self._uncounted + int(rate * seconds)
        self._overtime = overtime
        self._due: deque[float] = deque()
        self.free: deque[Client] = deque()
        self.sent = 0
        self.refused = 0
        self.answered = 0
        self._latencies: list[float] = []

    async def run(self) -> dict[str, float]:
        """Send all, wait for the answers, and tell."""
        began = time.perf_counter()
        deadline = began + self._count / self._rate + self._overtime
        made = 0
        while (made < self._count or self._due) and (at := time.perf_counter()) < deadline:
            while made < self._count and began + made / self._rate <= at:
                self._due.append(began + made / self._rate)
                made += 1
            self.send_due()
            await asyncio.sleep(TICK)
        left = [*self._due, *(began + number / self._rate for number in range(made, self._count))]
        self._due.clear()
        while self.answered < self.sent:  # noqa: ASYNC110 - the answers come as callbacks
            await asyncio.sleep(TICK)
        ended = time.perf_counter()
        self._latencies += [ended - due for due in left]
        for client in self.free:
            client.close()
        counted = self._latencies[self._uncounted :]
        told = {f"p{percent:g}": percentile(counted, percent) * 1000 for percent in (50, 99, 99.9)}
        return told | {"max": max(counted) * 1000, "sent": self.sent, "unsent": len(left), "refused": self.refused}

    def send_due(self) -> None:
        """As many as there are connections for."""
        while self._due and self.free:
            self.sent += 1
            number = f"{self.sent:0{DIGITS}d}".encode()
            self.free.popleft().send(number.join(self._pieces), self._due.popleft())

    def ended(self, client: "Client", status: bytes, due: float) -> None:
        """An answer is here."""
        self.answered += 1
        self.refused += not status.startswith(b"HTTP/1.1 2")
        self._latencies.append(time.perf_counter() - due)
        self.free.append(client)
        self.send_due()


class Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, loop: OpenLoop) -> None:
        self._loop = loop
        self._answer = bytearray()
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is free."""
        self._transport = cast(asyncio.Transport, transport)
        self._loop.free.append(self)

    def send(self, request: bytes, due: float) -> None:
        """A request that was due at this time."""
        self._due = due
        self._transport.write(request)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """The answer, or a part of it."""
        self._answer += data
        header, end, body = self._answer.partition(b"\r\n\r\n")
        if end and len(body) >= _length(header):
            status, self._answer = bytes(header[:12]), bytearray()
            self._loop.ended(self, status, self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        """A server may close a connection that has been idle."""
        if self in self._loop.free:
            self._loop.free.remove(self)
        else:
            self._loop.answered += 1
            self._loop.refused += 1


def _length(header: bytearray) -> int:
    start = header.lower().find(b"\r\ncontent-length:")
    return int(header[start + 17 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


async def _run(options: argparse.Namespace) -> None:
    url, running = urlsplit(options.url), asyncio.get_running_loop()
    open_loop = OpenLoop(options.request.read_bytes(), options.rate, options.seconds)
    for _ in range(options.connections):
        await running.create_connection(lambda: Client(open_loop), url.hostname, url.port)
    print(json.dumps(await open_loop.run()), flush=True)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("request", type=Path)
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--connections", type=int, default=128)
    options = parser.parse_args()
    import uvloop

    uvloop.run(_run(options))


if __name__ == "__main__":
    main()

"""How each Python sender among the peers is run: so many mails side by side, for so long; it tells what it took.

    python -m benchmarks.peers.<sender> PORT CONNECTIONS SECONDS FIRST [RECIPIENTS]
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

MAIL: dict[str, str] = json.loads(Path(__file__).with_name("mail.json").read_text())


@dataclass(frozen=True, slots=True)
class Work:
    """What to do."""

    port: int
    connections: int
    seconds: float
    first: int
    recipients: int

    def batches(self) -> Iterator[list[str]]:
        """The recipients of each mail, until the time is up."""
        numbers, until = count(self.first), time.perf_counter() + self.seconds
        while time.perf_counter() < until:
            yield [f"m{next(numbers):08d}@load.example" for _ in range(self.recipients)]


def given_work() -> Work:
    """From the command line."""
    port, connections, seconds, first, *more = sys.argv[1:]
    return Work(int(port), int(connections), float(seconds), int(first), int(more[0]) if more else 1)


def tell(sent: int, began: float, cpu: float, work: Work) -> None:
    """Write what it took."""
    took, last = time.perf_counter() - began, work.first + sent * work.recipients - 1
    print(json.dumps({"sent": sent, "seconds": took, "cpu": time.process_time() - cpu, "last": last}))


Client = Callable[[Iterator[list[str]]], Awaitable[int]]


def run_clients(client: Client) -> None:
    """Run as many clients as there are connections; each takes its mails' recipients from the same iterator, and
    returns how many mails it sent."""
    work = given_work()

    async def run() -> None:
        began, cpu, batches = time.perf_counter(), time.process_time(), work.batches()
        sent = await asyncio.gather(*(client(batches) for _ in range(work.connections)))
        tell(sum(sent), began, cpu, work)

    import uvloop

    uvloop.run(run())

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


WARM_UP = 1.0


@dataclass(slots=True)
class Work:
    """What to do, and what was done of it since the warm-up."""

    port: int
    connections: int
    seconds: float
    first: int
    recipients: int
    taken: int = 0
    counted: int = 0
    counts_from: float = 0.0
    cpu: float = 0.0

    def batches(self) -> Iterator[list[str]]:
        """The recipients of each mail, until the time is up."""
        numbers, began = count(self.first), time.perf_counter()
        while (at := time.perf_counter()) < began + WARM_UP + self.seconds:
            if at >= began + WARM_UP and not self.counts_from:
                self.counts_from, self.cpu = at, time.process_time()
            self.taken += 1
            self.counted += bool(self.counts_from)
            yield [f"m{next(numbers):08d}@load.example" for _ in range(self.recipients)]

    def tell(self) -> None:
        """Write what it took."""
        took, cpu = time.perf_counter() - self.counts_from, time.process_time() - self.cpu
        last = self.first + self.taken * self.recipients - 1
        print(json.dumps({"sent": self.counted, "seconds": took, "cpu": cpu, "last": last}), flush=True)


def given_work() -> Work:
    """From the command line."""
    port, connections, seconds, first, *more = sys.argv[1:]
    return Work(int(port), int(connections), float(seconds), int(first), int(more[0]) if more else 1)


Client = Callable[[int, Iterator[list[str]]], Awaitable[None]]


def run_clients(client: Client) -> None:
    """Run as many clients as there are connections, each with the port; each takes its mails' recipients from the same
    iterator."""
    work = given_work()

    async def run() -> None:
        batches = work.batches()
        await asyncio.gather(*(client(work.port, batches) for _ in range(work.connections)))
        work.tell()

    import uvloop

    uvloop.run(run())

"""What claiming and settling costs when the queue is long."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.fill import fill
from benchmarks.heliograph import Installed, serving
from benchmarks.process import ROOT, SERVER_CORE, python, running
from benchmarks.result import Bound, Metric, Table
from benchmarks.run import Bench, Case, Sample, rounds_of
from benchmarks.tables.round_trips import accept_backlog
from tests.journeys.installation import database_url

METRICS = (
    Metric("x_short", "x the shortest queue", 2, lower=True),
    Metric("ms", "ms/100 claimed and settled", 1, lower=True),
    Metric("cpu", "CPU us/mail", lower=True),
)
BOUND = {"x_short": Bound(1.25, 1.1)}
DATABASES = {"sqlite": "SQLite FULL", "postgres": "PostgreSQL"}
OTHER = "other"
BLOCKS = {"relay": 1, OTHER: 2}
SPENT = 100
"""What the warm-up of each run takes, and what is under way at its end."""


@dataclass(slots=True)
class Queue:
    """A database with so many pending mails of the service `relay`, and some of `other`."""

    url: str
    pending: int
    filled: dict[str, int]

    async def top_up(self, service: str, count: int) -> None:
        """So many more are pending."""
        first = self.filled.get(service, 0) + 1
        self.filled[service] = first + count - 1
        await fill(self.url, service, first, self.filled[service], BLOCKS[service])


async def measure(bench: Bench) -> Table:
    """The table; each queue is filled once, and filled up after each run."""
    depths = (1_000, 10_000) if bench.quick else (1_000, 100_000, 1_000_000)
    cases: list[Case] = []
    async with AsyncExitStack() as stack:
        for kind, name in DATABASES.items():
            for depth in depths:
                bench.tell(f"[claim] filling {name} with {depth:,}")
                queue = await _queue(bench, stack, kind, depth)
                bounds = {} if depth == depths[0] else BOUND
                cases.append(
                    Case(f"{name}, {depth:,} pending", partial(_claim, bench, queue, "relay"), bounds, ours=True)
                )
            behind = f"{name}, another service behind {depths[-1]:,}"
            cases.append(Case(behind, partial(_claim, bench, queue, OTHER), BOUND, ours=True))
        rows = await rounds_of(bench, "claim", cases)
    each = len(depths) + 1
    for place, row in enumerate(rows):
        row.compare("ms", rows[place // each * each], "ms", "x_short")
    return Table(
        "claim", "Claiming and settling 100 mails, over the same in the shortest queue", METRICS, "x_short", rows
    )


async def _queue(bench: Bench, stack: AsyncExitStack, kind: str, depth: int) -> Queue:
    url = await stack.enter_async_context(bench.database(kind))
    ours = await stack.enter_async_context(serving(Installed(url, bench.checkout), worker=False))
    graphql = ours.server.doors.graphql
    await graphql.create_service(OTHER, port=2525)
    await accept_backlog(ours, 1, 1)
    other = {"to": "other@load.example", "from_email": "a@sender.example", "subject": "x", "body_text": "x"}
    await ours.server.doors.rest.send(OTHER, other, Prefer="respond-async")
    await ours.server.kill()
    queue = Queue(database_url(ours.installed), depth, {})
    await queue.top_up("relay", depth)
    await queue.top_up(OTHER, 1000)
    return queue


async def _claim(bench: Bench, queue: Queue, service: str) -> Sample:
    count = 200 if bench.quick else 500
    await queue.top_up(service, count + SPENT * 2)
    environment = {"PYTHONPATH": f"{bench.checkout}:{ROOT}"}
    command = python("benchmarks.claiming", queue.url, service, count)
    async with running(command, SERVER_CORE, environment) as program:
        told: Sample = await program.ask()
    return told

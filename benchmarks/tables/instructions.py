"""How many instructions a mail takes: what no other program on the machine changes, nor how quick it is."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.callgrind import begun, counted_echo
from benchmarks.floors import ECHO
from benchmarks.heliograph import ADMIN_KEY, Installed, equip, installation
from benchmarks.load.clients import send_all
from benchmarks.load.requests import rest_post
from benchmarks.result import Metric, Table
from benchmarks.run import Bench, Case, Sample, rounds_of, sink
from benchmarks.stored import check_stored
from benchmarks.tables.accept import DOORS
from benchmarks.tables.end_to_end import CONNECTIONS
from tests.journeys.installation import database_url
from tests.journeys.program import answering

MANY, ONE = 32, 1
COUNTED = {MANY: 400, ONE: 100}
DELIVERED_WITHIN = 300
METRICS = (
    Metric("x_echo", "x echo", 2, lower=True),
    Metric("thousands", "1,000 instructions/request", lower=True),
)
NOTE = (
    "Counted by callgrind in the server's process, on all its threads, without what the kernel does. They are the same"
    " in each run to two hundredths. One client alone pays for the transaction and the ways between the threads that"
    " 32 share."
)


@dataclass(frozen=True, slots=True)
class _Way:
    """What is counted: mail through this door, on this kind of database, by so many clients, and whether it leaves."""

    door: str
    kind: str
    clients: int
    delivered: bool = False


WAYS = {
    "REST, SQLite FULL": _Way("REST", "sqlite", MANY),
    "GraphQL, SQLite FULL": _Way("GraphQL", "sqlite", MANY),
    "REST, PostgreSQL": _Way("REST", "postgres", MANY),
    "REST, SQLite FULL, delivered": _Way("REST", "sqlite", MANY, delivered=True),
    "REST, PostgreSQL, delivered": _Way("REST", "postgres", MANY, delivered=True),
    "REST, SQLite FULL, one client": _Way("REST", "sqlite", ONE),
    "REST, SQLite FULL, one client, delivered": _Way("REST", "sqlite", ONE, delivered=True),
}


async def measure(bench: Bench) -> Table:
    """The table. Each row once: another round would say the same."""
    cases = [Case(ECHO, _echo, rounds=1)]
    cases += [Case(name, partial(_ours, bench, way), ours=True, rounds=1) for name, way in WAYS.items()]
    rows = await rounds_of(bench, "instructions", cases)
    for row in rows:
        row.compare("thousands", rows[0], "thousands", "x_echo")
    return Table("instructions", "Instructions of the server for each mail", METRICS, "x_echo", rows, (NOTE,))


async def _echo() -> Sample:
    async with counted_echo() as (echo, url):
        send = partial(send_all, url, rest_post("", "/echo"), clients=MANY)
        warm, last = _numbers(MANY)
        await send(numbers=warm)
        return _sample(await echo.instructions(send(numbers=last)), last)


async def _ours(bench: Bench, way: _Way) -> Sample:
    """Every acknowledged mail has to be in the database or, if it is `delivered`, to have arrived."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(bench.database(way.kind))
        receiver = await stack.enter_async_context(sink())
        installed = await stack.enter_async_context(installation(Installed(url, bench.checkout)))
        # Everything takes fifty times as long: no lease and no client's time ends meanwhile.
        slow = installed.having(lease=6000, lease_renewal=2000, header_timeout=300, body_timeout=300)
        process, counted = await begun(slow, "serve", *([] if way.delivered else ["--no-worker"]))
        stack.push_async_callback(process.kill)
        server = await stack.enter_async_context(answering(process, "live", ADMIN_KEY))
        _, key = await equip(server, receiver.port, CONNECTIONS)

        async def send(numbers: range) -> None:
            await send_all(server.url, DOORS[way.door](key), numbers, way.clients)
            if way.delivered:
                await receiver.all_arrived(1, numbers[-1], DELIVERED_WITHIN)

        warm, last = _numbers(way.clients)
        await send(warm)
        sample = _sample(await counted.instructions(send(last)), last)
        if not way.delivered:
            await check_stored(database_url(slow), last[-1])
        return sample


def _numbers(clients: int) -> tuple[range, range]:
    """Those of the mails before anything is counted, and of those that are."""
    first = 5 * MANY + 1
    return range(1, first), range(first, first + COUNTED[clients])


def _sample(instructions: int, numbers: range) -> Sample:
    return {"thousands": instructions / len(numbers) / 1000}

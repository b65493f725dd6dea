"""A thousand clients that hold a WebSocket open: what each takes, and what mail notices of them."""

from contextlib import AsyncExitStack
from functools import partial

from benchmarks.heliograph import Installed, equip, installation, started
from benchmarks.load.requests import rest_post
from benchmarks.load.wrk import post_all
from benchmarks.process import LOAD_CORE, python, resident_bytes, running, tree_cpu_seconds
from benchmarks.result import Metric, Table
from benchmarks.run import Bench, Case, Sample, rounds_of
from benchmarks.stored import check_stored
from tests.journeys.installation import database_url

METRICS = (
    Metric("rate", "REST accepts/s"),
    Metric("x_none", "x none", 2),
    Metric("each", "KiB/socket", 1, lower=True),
    Metric("opened", "all open after s", 2, lower=True),
    Metric("asked", "a query on each s", 2, lower=True),
)
NOTE = (
    "Each WebSocket speaks graphql-transport-ws, is authenticated and acknowledged, and stays open; then mail is"
    " accepted as in the accept table (SQLite FULL, REST). HELIOGRAPH_MAX_CONNECTIONS and"
    " HELIOGRAPH_GRAPHQL_MAX_SOCKETS_PER_KEY are raised for this."
)


async def measure(bench: Bench) -> Table:
    """The table."""
    counts = (0, 50) if bench.quick else (0, 1000)
    cases = [Case(_name(count), partial(_with, bench, count), ours=True) for count in counts]
    rows = await rounds_of(bench, "subscribers", cases)
    for row in rows:
        row.compare("rate", rows[0], "rate", "x_none")
    return Table("subscribers", "Accepting beside 1,000 open WebSockets", METRICS, "rate", rows, (NOTE,))


def _name(count: int) -> str:
    return f"{count:,} WebSockets" if count else "none"


async def _with(bench: Bench, count: int) -> Sample:
    async with AsyncExitStack() as stack:
        installed = await stack.enter_async_context(installation(Installed(None, bench.checkout)))
        more = installed.having(max_connections=count + 200, graphql_max_sockets_per_key=count + 100)
        server = await stack.enter_async_context(started(more, worker=False))
        _, key = await equip(server, 2525, 10)
        pid, sample = server.running.pid, {}
        await post_all(server.url, rest_post(key), 1, lambda: tree_cpu_seconds(pid), first=90_000_000)
        if count:
            before = resident_bytes(pid)
            command = python("benchmarks.load.sockets", server.url, count, key)
            sockets = await stack.enter_async_context(running(command, LOAD_CORE))
            sample = dict(await sockets.ask())
            sample["each"] = (resident_bytes(pid) - before) / count / 1024
            sample |= await sockets.ask("query")
        load = await post_all(server.url, rest_post(key), bench.seconds, lambda: tree_cpu_seconds(pid))
        counted = "SELECT email FROM recipient WHERE email NOT LIKE 'm9%'"
        await check_stored(database_url(installed), load.sent, counted)
        return sample | {"rate": load.rate}

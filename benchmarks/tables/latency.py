"""How long accepting takes at a given rate, while the same process delivers."""

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.floors import ECHO, echo_sample, echoing
from benchmarks.heliograph import Installed, serving
from benchmarks.load.requests import Post, rest_post
from benchmarks.load.wrk import LoadFailed
from benchmarks.process import LOAD_CORE, python, running
from benchmarks.result import Bound, Metric, Table
from benchmarks.run import Bench, Case, Sample, rounds_of, sink
from benchmarks.tables.accept import DOORS
from benchmarks.tables.end_to_end import CONNECTIONS, DRAINED_WITHIN

SHARE = 0.15
METRICS = (
    Metric("p99", "p99 ms", 1, lower=True),
    Metric("p50", "p50 ms", 1, lower=True),
    Metric("p99.9", "p99.9 ms", 1, lower=True),
    Metric("rate", "requests/s"),
    Metric("unsent", "not sent in time", lower=True),
    Metric("delivered", "% delivered by then"),
)
NOTE = (
    f"An open loop at {SHARE:g} of the rate that the echo reaches in the same round, on 128 connections; a latency"
    " counts from the moment its request was due. The same process delivers meanwhile, on the same core, and what is"
    " left when the last one is answered right after that: nothing may be missing."
)


async def measure(bench: Bench) -> Table:
    """The table."""
    rates = [SHARE * 1000.0]

    async def echo() -> Sample:
        rates[0] = SHARE * (await echo_sample(bench))["rate"]
        async with echoing() as (_, url):
            return await open_loop(bench, url, rest_post("", "/echo"), rates[0])

    def ours(name: str, door: str, slow: int, bound: Bound | None) -> Case:
        run = partial(_ours, bench, door, slow, rates)
        return Case(name, run, {"p99": bound} if bound else {}, ours=True)

    cases = [
        Case(ECHO, echo),
        ours("REST, SQLite FULL", "REST", 0, Bound(15, 6)),
        ours("REST, SQLite FULL, +2 ms each fsync", "REST", 2, Bound(25, 12)),
        ours("GraphQL, SQLite FULL", "GraphQL", 0, None),
        ours("GraphQL, SQLite FULL, +2 ms each fsync", "GraphQL", 2, None),
    ]
    rows = await rounds_of(bench, "latency", cases)
    title = "Latency of an accept while delivering, at 0.15 of the echo's rate"
    return Table("latency", title, METRICS, "p99", rows, (NOTE,))


async def _ours(bench: Bench, door: str, slow: int, rates: list[float]) -> Sample:
    async with sink() as receiver:
        given = Installed(None, bench.checkout, slow, CONNECTIONS)
        async with serving(given, sink_port=receiver.port) as ours:
            told = await open_loop(bench, ours.url, DOORS[door](ours.api_key), rates[0])
            sent = int(told["sent"])
            missing = (await receiver.report(1, sent))["missing"]
            await receiver.all_arrived(1, sent, DRAINED_WITHIN)
    return {**told, "delivered": 100 * (sent - missing) / sent}


async def open_loop(bench: Bench, url: str, post: Post, rate: float) -> Sample:
    """One run at this rate. Raises LoadFailed if a request was refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".http", newline="") as request:
        request.write(post.raw())
        request.flush()
        command = python("benchmarks.load.open_loop", url, Path(request.name), rate, bench.seconds)
        async with running(command, LOAD_CORE) as program:
            told: dict[str, float] = await program.ask()
    if told["refused"]:
        raise LoadFailed(f"{told['refused']:.0f} requests were refused")
    return told | {"rate": rate}

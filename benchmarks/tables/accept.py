"""Accept: requests a second that are answered once the mail is durable, beside an echo of the same JSON."""

from functools import partial

from benchmarks.floors import ECHO, accept_sample, echo_sample, obvious_sample
from benchmarks.heliograph import Installed, serving
from benchmarks.load.requests import graphql_post, rest_post
from benchmarks.load.wrk import post_all
from benchmarks.result import Bound, Metric, Table
from benchmarks.run import Bench, Case, Sample, rounds_of
from benchmarks.stored import check_stored
from tests.journeys.installation import database_url

METRICS = (
    Metric("x_echo", "x echo", 3),
    Metric("rate", "requests/s"),
    Metric("cpu", "CPU us/request", lower=True),
    Metric("x_cpu", "CPU x echo", 1, lower=True),
)
DOORS = {"REST": rest_post, "GraphQL": graphql_post}
BOUNDS = {
    ("REST", "sqlite", 0): Bound(0.30, 0.50),
    ("GraphQL", "sqlite", 0): Bound(0.22, 0.40),
    ("REST", "sqlite", 2): Bound(0.22, 0.35),
    ("REST", "postgres", 0): Bound(0.30, 0.45),
}
WHERE = {("sqlite", 0): "SQLite FULL", ("sqlite", 2): "SQLite FULL, +2 ms each fsync", ("postgres", 0): "PostgreSQL"}
OBVIOUS = {"rest_create": "Starlette + Tortoise create", "graphql_create": "Strawberry defaults + Tortoise create"}


async def measure(bench: Bench) -> Table:
    """The table."""
    cases = [Case(ECHO, partial(echo_sample, bench))]
    for (kind, slow), where in WHERE.items():
        for door in DOORS:
            bound = BOUNDS.get((door, kind, slow))
            run = partial(accept, bench, door, kind, slow)
            cases.append(Case(f"{door}, {where}", run, {"x_echo": bound} if bound else {}, ours=True))
    cases += [
        Case(f"{name}, {where}", partial(obvious_sample, bench, module, kind, slow))
        for (kind, slow), where in WHERE.items()
        for module, name in OBVIOUS.items()
        if not (slow and module == "graphql_create")
    ]
    rows = await rounds_of(bench, "accept", cases)
    for row in rows:
        row.compare("rate", rows[0], "rate", "x_echo")
        row.compare("cpu", rows[0], "cpu", "x_cpu")
    return Table("accept", "Accept, durable before the answer, as a share of a bare JSON echo", METRICS, "x_echo", rows)


async def accept(bench: Bench, door: str, kind: str, slow: int) -> Sample:
    """One round of ours: only accepting, the worker off; every acknowledged mail has to be in the database."""
    async with bench.database(kind) as url:
        given = Installed(url, bench.checkout, slow)
        async with serving(given, worker=False) as ours:
            load = await post_all(ours.url, DOORS[door](ours.api_key), bench.seconds, ours.cpu)
            await check_stored(database_url(ours.installed), load.sent)
    return accept_sample(load)

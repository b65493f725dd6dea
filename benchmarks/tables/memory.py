"""The server's memory while its queue grows and nothing leaves."""

from functools import partial

from benchmarks.heliograph import Installed, serving
from benchmarks.load.requests import rest_post
from benchmarks.load.wrk import post_all
from benchmarks.process import resident_bytes
from benchmarks.result import Bound, Metric, Table
from benchmarks.run import Bench, Case, Sample, rounds_of
from benchmarks.stored import check_stored
from tests.journeys.installation import database_url

METRICS = (
    Metric("each", "bytes/queued mail", lower=True),
    Metric("mails", "mails queued"),
    Metric("before", "MiB before"),
    Metric("after", "MiB after"),
)
QUEUED = 20_000
MOST_LOADS = 8
NOTHING_LISTENS = 2525
MEBIBYTE = 1024 * 1024
ALONE = "API, SQLite FULL, no worker"
CASES = {
    ALONE: ("sqlite", False),
    "API and worker, SQLite FULL, its SMTP server down": ("sqlite", True),
    "API, PostgreSQL, no worker": ("postgres", False),
}


async def measure(bench: Bench) -> Table:
    """The table."""
    bound = {"each": Bound(200, 100)}
    cases = [
        Case(name, partial(_queued, bench, *how), bound, ours=True, rounds=None if how == CASES[ALONE] else 1)
        for name, how in CASES.items()
    ]
    rows = await rounds_of(bench, "memory", cases)
    return Table("memory", "Memory of the server per queued mail", METRICS, "each", rows)


async def _queued(bench: Bench, kind: str, worker: bool) -> Sample:
    """Warm it up with one load, then queue QUEUED mails more, or what it takes in MOST_LOADS loads."""
    async with (
        bench.database(kind) as url,
        serving(Installed(url, bench.checkout), sink_port=NOTHING_LISTENS, worker=worker) as ours,
    ):
        post = rest_post(ours.api_key)
        warm = (await post_all(ours.url, post, bench.seconds, ours.cpu)).sent
        before, sent = resident_bytes(ours.pid), warm
        for _ in range(1 if bench.quick else MOST_LOADS):
            sent += (await post_all(ours.url, post, bench.seconds * 2, ours.cpu, first=sent + 1)).sent
            if sent - warm >= QUEUED:
                break
        after = resident_bytes(ours.pid)
        await check_stored(database_url(ours.installed), sent)
    queued = sent - warm
    each = max(0, after - before) / queued
    return {"each": each, "mails": queued, "before": before / MEBIBYTE, "after": after / MEBIBYTE}

"""Where the microseconds of a mail go, layer by layer.

    python -m benchmarks.profile accept --door GraphQL
    python -m benchmarks.profile deliver --database postgres --checkout ../other --top 30
    python -m benchmarks.profile accept --before ../before --out docs/performance     # both, as a table of the page

Measures twice: the CPU of each mail without a profile, and then how the time of a profiled run (cProfile on CPU time,
every thread) is shared out; a layer's microseconds are its share of the former. What libraries take counts to the layer
that calls them. cProfile makes many small calls look dearer than they are.
"""

import argparse
import asyncio
import marshal
import os
import pstats
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.heliograph import ADMIN_KEY, Installed, equip, installation, started, working
from benchmarks.keep import keep
from benchmarks.layers import Statistics, seconds_by_layer
from benchmarks.load.wrk import post_all
from benchmarks.machine import describe_machine
from benchmarks.page import page_tables
from benchmarks.process import LOAD_CORE, ROOT, SERVER_CORE, pinned, tree_cpu_seconds
from benchmarks.result import Metric, Row, Table
from benchmarks.run import Bench, Sink, sink
from benchmarks.tables.accept import DOORS
from tests.journeys.program import Heliograph, Process, answering

WARM_UP = 0.5
SECOND_LOAD = 10_000_000
"""The first number of the mails that are accepted under the profile."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Microseconds of CPU for each mail, and the statistics of each thread."""

    each: float
    threads: Mapping[str, Statistics]

    def by_layer(self) -> list[tuple[str, float]]:
        """The microseconds of each layer, the most first."""
        seconds = seconds_by_layer(self.threads)
        whole = sum(seconds.values()) or 1.0
        layers = ((layer, took / whole * self.each) for layer, took in seconds.items())
        return sorted(layers, key=lambda layer: -layer[1])


class Profiled(Heliograph):
    """An installation whose servers and workers can be profiled."""

    @property
    def file(self) -> Path:
        """Where the statistics are written to."""
        return self.folder / "profile.marshal"

    async def begun(self, *arguments: str) -> Process:
        """Start a command under `benchmarks.profiled`."""
        files = [self.folder / f"{arguments[0]}-profiled.{name}" for name in ("out", "err")]
        environment = {"PATH": os.environ["PATH"], **self.settings}
        environment["PYTHONPATH"] = f"{self.settings['PYTHONPATH']}:{ROOT}"
        command = [sys.executable, "-m", "benchmarks.profiled", str(self.file), *arguments]
        with files[0].open("w") as out, files[1].open("w") as errors, pinned(SERVER_CORE):
            running = await asyncio.create_subprocess_exec(
                *command, cwd=self.folder, env=environment, stdout=out, stderr=errors
            )
        return Process(running, *files)

    async def statistics(self, process: Process) -> Mapping[str, Statistics]:
        """End the profile, and read it."""
        process.running.send_signal(signal.SIGUSR2)
        async with asyncio.timeout(60):
            while not self.file.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.05)
        read: Mapping[str, Statistics] = marshal.loads(self.file.read_bytes())
        return read


@asynccontextmanager
async def _profiled(given: Installed) -> AsyncIterator[Profiled]:
    async with installation(given) as installed:
        yield Profiled(installed.folder, installed.settings)


async def profile_accept(bench: Bench, door: str, kind: str) -> Profile:
    """Of accepting alone, without a worker."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(bench.database(kind))
        installed = await stack.enter_async_context(_profiled(Installed(url, bench.checkout)))
        async with started(installed, worker=False) as server:
            _, key = await equip(server, 2525, 10)
            pid = server.running.pid
            plain = await post_all(server.url, DOORS[door](key), bench.seconds, lambda: tree_cpu_seconds(pid))
        process = await installed.begun("serve", "--no-worker")
        stack.push_async_callback(process.kill)
        server = await stack.enter_async_context(answering(process, "live", ADMIN_KEY))
        await post_all(server.url, DOORS[door](key), WARM_UP, lambda: 0.0, first=plain.sent + 1)
        process.running.send_signal(signal.SIGUSR1)
        await post_all(server.url, DOORS[door](key), bench.seconds, lambda: 0.0, first=SECOND_LOAD)
        return Profile(plain.cpu_each, await installed.statistics(process))


async def profile_deliver(bench: Bench, door: str, kind: str) -> Profile:
    """Of delivering alone, by workers that find a backlog: one without a profile, then one with it."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(bench.database(kind))
        receiver = await stack.enter_async_context(sink())
        installed = await stack.enter_async_context(_profiled(Installed(url, bench.checkout)))
        server = await stack.enter_async_context(started(installed, worker=False))
        _, key = await equip(server, receiver.port, 10)

        async def deliver(before: int, *, profile: bool) -> tuple[int, Profile]:
            load = await post_all(server.url, DOORS[door](key), bench.seconds, lambda: 0.0, first=before + 1)
            found = await _deliver_all(installed, receiver, load.sent, before + load.sent, profile=profile)
            return before + load.sent, found

        sent, plain = await deliver(0, profile=False)
        _, profiled = await deliver(sent, profile=True)
        return Profile(plain.each, profiled.threads)


async def _deliver_all(installed: Profiled, receiver: Sink, mails: int, last: int, *, profile: bool) -> Profile:
    """What a worker takes for so many mails."""
    process = await (installed.begun("worker") if profile else working(installed))
    try:
        async with asyncio.timeout(60):
            while "delivers mail" not in process.output:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)
        cpu = tree_cpu_seconds(process.running.pid)
        if profile:
            process.running.send_signal(signal.SIGUSR1)
        await receiver.all_arrived(1, last, 300)
        each = (tree_cpu_seconds(process.running.pid) - cpu) / mails * 1e6
        return Profile(each, await installed.statistics(process) if profile else {})
    finally:
        await process.kill()


def main() -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=list(RUNS))
    parser.add_argument("--door", choices=list(DOORS), default="REST")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="profile the Heliograph of this source")
    parser.add_argument("--before", type=Path, help="profile that of this source as well, to compare")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--top", type=int, default=0, help="also list so many functions of each thread")
    parser.add_argument("--out", type=Path, help="keep the table in this folder")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE} if (os.cpu_count() or 1) > LOAD_CORE else os.sched_getaffinity(0))
    checkouts = {"now": options.checkout.resolve()}
    if options.before is not None:
        checkouts = {"before": options.before.resolve()} | checkouts
    profiles = {}
    for name, checkout in checkouts.items():
        bench = Bench(1, options.seconds, checkout=checkout)
        with bench.postgres():
            profiles[name] = asyncio.run(RUNS[options.what](bench, options.door, options.database))
    table = table_of(f"{options.what}, {options.door}, {options.database}", profiles)
    print(page_tables([table]))
    _show_functions(profiles["now"], options.top)
    if options.out is not None:
        table.name = f"profile_{options.what}_{options.door.lower()}"
        keep(options.out, table, bench, describe_machine())
    return 0


RUNS = {"accept": profile_accept, "deliver": profile_deliver}


def table_of(what: str, profiles: Mapping[str, Profile]) -> Table:
    """A row for each layer, the dearest one first, and one for the whole."""
    metrics = [Metric(name, f"CPU us/mail {name}", 1, lower=True) for name in profiles]
    whole = Row("all of it", {name: [profile.each] for name, profile in profiles.items()}, ours=True)
    by_layer: dict[str, Row] = {}
    for name, profile in profiles.items():
        for layer, microseconds in profile.by_layer():
            by_layer.setdefault(layer, Row(layer)).add({name: microseconds})
    rows = sorted(by_layer.values(), key=lambda row: -max(map(sum, row.samples.values())))
    return Table("profile", f"Where the microseconds of a mail go: {what}", metrics, "now", [whole, *rows])


def _show_functions(profile: Profile, top: int) -> None:
    for thread in profile.threads if top else ():
        print(f"thread {thread}")
        stats = pstats.Stats()
        stats.stats = profile.threads[thread]  # type: ignore[attr-defined]
        stats.total_tt = sum(entry[2] for entry in profile.threads[thread].values())  # type: ignore[attr-defined]
        stats.sort_stats("tottime").print_stats(top)


if __name__ == "__main__":
    sys.exit(main())

"""Measure everything, side by side with floors and peers, and write it down.

    python -m benchmarks                                # every table, three rounds, into docs/performance
    python -m benchmarks accept end_to_end --rounds 5
    python -m benchmarks --quick --out /tmp/performance # does it run at all?

The exit status is 1 when a mail was lost or came twice, or a peer is missing. A goal that is not reached is told, and
is no failure, unless `--strict` is given.
"""

import argparse
import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.keep import ORDER, keep
from benchmarks.load.wrk import LoadFailed
from benchmarks.machine import describe_machine
from benchmarks.needs import missing
from benchmarks.page import page_tables
from benchmarks.process import LOAD_CORE, ROOT
from benchmarks.result import Table
from benchmarks.run import Bench, Wrong

TABLES = tuple(name for name in ORDER if not name.startswith("profile_"))


def main() -> int:
    """The program; returns its exit status."""
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE} if (os.cpu_count() or 1) > LOAD_CORE else os.sched_getaffinity(0))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # what was started is ended on the way
    seconds = 1.0 if options.quick else options.seconds
    bench = Bench(1 if options.quick else options.rounds, seconds, options.quick, options.checkout)
    names = options.tables or TABLES
    if lacks := list(missing(names)):
        print("FAILED: " + "; ".join(lacks))
        return 1
    try:
        with bench.postgres():
            tables = asyncio.run(measure(bench, names, options.out))
    except (LoadFailed, Wrong) as failure:
        print(f"FAILED: {failure}")
        return 1
    print(page_tables(tables))
    short = [line for table in tables for line in table.short_of()]
    print("\n".join(f"SHORT OF THE GOAL: {line}" for line in short) or "every goal is reached")
    return 1 if short and options.strict else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"which ones, of: {', '.join(TABLES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="how long each load lasts")
    parser.add_argument("--quick", action="store_true", help="one short round: whether it runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "performance", help="for results.json and plots")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="measure the Heliograph of this source")
    parser.add_argument("--strict", action="store_true", help="a goal that is not reached is a failure")
    options = parser.parse_args()
    if unknown := set(options.tables) - set(TABLES):
        parser.error(f"no such table: {', '.join(sorted(unknown))}")
    options.checkout = options.checkout.resolve()
    return options


async def measure(bench: Bench, names: Iterable[str], out: Path) -> list[Table]:
    """Measure these tables; each one is in `out` as soon as it is measured."""
    machine, tables = describe_machine(), []
    for name in names:
        table: Table = await importlib.import_module(f"benchmarks.tables.{name}").measure(bench)
        keep(out, table, bench, machine)
        tables.append(table)
    return tables


if __name__ == "__main__":
    sys.exit(main())

"""How tables are measured: rounds of cases, row by row, all on one machine in one run."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.heliograph import migrate_postgres
from benchmarks.process import LOAD_CORE, ROOT, Program, pinned, python, running
from benchmarks.result import Bound, Row
from tests.postgres import Postgres, running_postgres

Sample = Mapping[str, float]


class Wrong(RuntimeError):
    """A mail was lost or came twice, or a program did not do what it was asked: no figure of this run counts."""


@dataclass(slots=True)
class Bench:
    """The options of a run, and what all tables use."""

    rounds: int = 3
    seconds: float = 3.0
    quick: bool = False
    checkout: Path = ROOT
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    _postgres: Postgres | None = None
    _template: str | None = None

    @asynccontextmanager
    async def database(self, kind: str, *, empty: bool = False) -> AsyncIterator[str | None]:
        """The URL of a new database, migrated unless it is to be `empty`; None stands for a SQLite file in a folder."""
        if kind == "sqlite":
            yield None
            return
        if self._postgres is None:
            raise Wrong("no PostgreSQL runs")
        if not empty and self._template is None:
            migrated = await asyncio.to_thread(self._postgres.create)
            await migrate_postgres(migrated, self.checkout)
            self._template = urlsplit(migrated).path[1:]
        url = await asyncio.to_thread(self._postgres.create, "template0" if empty else self._template or "")
        try:
            yield url
        finally:
            await asyncio.to_thread(self._postgres.drop, url)

    @contextmanager
    def postgres(self) -> Iterator[None]:
        """A PostgreSQL server for the run, on the load's core."""
        with pinned(LOAD_CORE), running_postgres("bench") as self._postgres:
            try:
                yield
            finally:
                self._postgres = None


@dataclass(frozen=True, slots=True)
class Case:
    """A row to be measured: `run` gives one sample of its metrics."""

    name: str
    run: Callable[[], Awaitable[Sample]]
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    ours: bool = False
    rounds: int | None = None


async def rounds_of(bench: Bench, table: str, cases: Sequence[Case]) -> list[Row]:
    """Measure every case once, then all again: whatever the machine does meanwhile falls on all of them."""
    measured = [Row(case.name, {}, case.bounds, case.ours) for case in cases]
    for number in range(bench.rounds):
        for case, row in zip(cases, measured, strict=True):
            if case.rounds is not None and number >= case.rounds:
                continue
            began = time.monotonic()
            sample = await case.run()
            row.add(sample)
            figures = ", ".join(f"{key} {value:.4g}" for key, value in sample.items())
            took = time.monotonic() - began
            bench.tell(f"[{table} {number + 1}/{bench.rounds}] {case.name}: {figures}   ({took:.1f} s)")
    return measured


@dataclass(frozen=True, slots=True)
class Sink:
    """The counting SMTP server, in its own process."""

    program: Program
    port: int

    async def report(self, first: int, last: int) -> dict[str, float]:
        """What became of the mails of these numbers so far."""
        told: dict[str, float] = await self.program.ask(f"report {first} {last}")
        return told

    async def reset(self) -> None:
        """Forget everything."""
        await self.program.ask("reset")

    async def all_arrived(self, first: int, last: int, within: float) -> dict[str, float]:
        """Wait for the mails of these numbers. Raises Wrong if one is missing by then, or came twice."""
        deadline = time.monotonic() + within
        while (told := await self.report(first, last))["missing"] and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if told["missing"] or told["doubled"] or told["others"]:
            raise Wrong(f"of the mails {first} to {last}: {told}")
        return told


@asynccontextmanager
async def sink(*, delay: float = 0, pipelining: bool = True, chunking: bool = False) -> AsyncIterator[Sink]:
    """A new one, on the load's core."""
    flags = [*(["--pipelining"] if pipelining else []), *(["--chunking"] if chunking else [])]
    async with running(python("benchmarks.sink", "--delay", delay, *flags), LOAD_CORE) as program:
        yield Sink(program, (await program.ask())["port"])

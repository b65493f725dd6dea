"""How soon a process is ready after its start."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial

import httpx2

from benchmarks.floors import echoing
from benchmarks.heliograph import Installed, installation, serving, started, working
from benchmarks.process import tree_cpu_seconds
from benchmarks.result import Metric, Table
from benchmarks.run import Bench, Case, Sample, rounds_of
from tests.journeys.program import Heliograph

METRICS = (
    Metric("ready", "ready after s", 2, lower=True),
    Metric("cpu", "CPU s", 2, lower=True),
)


async def measure(bench: Bench) -> Table:
    """The table."""
    cases = [
        Case("Starlette JSON echo", _echo),
        Case("heliograph serve, new SQLite database", partial(_first, bench), ours=True),
        Case("heliograph serve, SQLite", partial(_again, bench, "sqlite", _serve), ours=True),
        Case("heliograph serve, PostgreSQL", partial(_again, bench, "postgres", _serve), ours=True),
        Case("heliograph worker, SQLite", partial(_again, bench, "sqlite", _work), ours=True),
    ]
    rows = await rounds_of(bench, "cold_start", cases)
    return Table("cold_start", "Cold start, from the exec to ready for mail", METRICS, "ready", rows)


async def _echo() -> Sample:
    began = time.perf_counter()
    async with echoing() as (program, url), httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{url}/echo", json={"ready": True})
        answer.raise_for_status()
        return {"ready": time.perf_counter() - began, "cpu": tree_cpu_seconds(program.pid)}


async def _first(bench: Bench) -> Sample:
    """Its folder is empty: it makes the database, migrates it, and makes a key."""
    given = Installed(None, bench.checkout)
    async with installation(given) as installed:
        for name in os.listdir(installed.folder):
            if name.startswith("heliograph.db"):
                (installed.folder / name).unlink()
        return await _serve(installed)


async def _again(bench: Bench, kind: str, start: Callable[[Heliograph], Awaitable[Sample]]) -> Sample:
    async with bench.database(kind) as url, serving(Installed(url, bench.checkout)) as ours:
        await ours.server.kill()
        return await start(ours.installed)


async def _serve(installed: Heliograph) -> Sample:
    began = time.perf_counter()
    async with started(installed) as server:
        return {"ready": time.perf_counter() - began, "cpu": tree_cpu_seconds(server.running.pid)}


async def _work(installed: Heliograph) -> Sample:
    began = time.perf_counter()
    worker = await working(installed)
    try:
        await _says(worker.output_file.read_text, "delivers mail")
        return {"ready": time.perf_counter() - began, "cpu": tree_cpu_seconds(worker.running.pid)}
    finally:
        await worker.kill()


async def _says(output: Callable[[], str], words: str) -> None:
    async with asyncio.timeout(60):
        while words not in output():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)

"""The program as its operator runs it: another process, in a folder of its own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Self

import httpx2

from tests.journeys.doors import Doors

ROOT = Path(__file__).parents[2]
ADMIN_KEY = "journey-admin-key-0123456789"
PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command that ended by itself left."""

    status: int
    output: str
    errors: str


@dataclass
class Process:
    """A running `heliograph`; what it says is in two files."""

    running: asyncio.subprocess.Process
    output_file: Path
    errors_file: Path

    @property
    def output(self) -> str:
        """Standard output so far."""
        return self.output_file.read_text()

    @property
    def errors(self) -> str:
        """Standard error so far, which is where the log goes."""
        return self.errors_file.read_text()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.running.terminate()

    async def kill(self) -> None:
        """SIGKILL, as a power cut would, if it has not ended."""
        if self.running.returncode is None:
            self.running.send_signal(signal.SIGKILL)
        await self.running.wait()

    async def ended(self) -> Finished:
        """Wait for its end."""
        async with asyncio.timeout(PATIENCE):
            status = await self.running.wait()
        return Finished(status, self.output, self.errors)


@dataclass
class Server(Process):
    """A `heliograph serve` that answers."""

    url: str
    doors: Doors


@dataclass
class Heliograph:
    """An installation: a folder, and settings in the environment, of which nothing else reaches the program."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    _started: list[Process] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def having(self, **settings: object) -> Self:
        """The same folder with more settings: `lease=2` is HELIOGRAPH_LEASE."""
        return type(self)(self.folder, self.settings | _variables(settings), self._started, self._numbers)

    async def run(self, *arguments: str, typed: str = "") -> Finished:
        """Run a command to its end, `typed` on its standard input."""
        process = await self.start(*arguments, typed=typed)
        return await process.ended()

    async def migrate(self) -> None:
        """Make the tables, or find them made."""
        migrated = await self.run("migrate")
        assert migrated.status == 0, migrated.errors

    async def start(self, *arguments: str, typed: str = "") -> Process:
        """Start a command."""
        number = next(self._numbers)
        files = [self.folder / f"{name}-{number}.log" for name in ("stdin", "stdout", "stderr")]
        files[0].write_text(typed)
        with files[0].open() as stdin, files[1].open("w") as stdout, files[2].open("w") as stderr:
            running = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "app.cli", *arguments),
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.settings},
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
            )
        process = Process(running, files[1], files[2])
        self._started.append(process)
        return process

    @asynccontextmanager
    async def serving(self, *options: str, api_key: str | None = ADMIN_KEY) -> AsyncIterator[Server]:
        """Serve on a free port, ready for mail; killed at the end if it still runs."""
        process = await self.start("serve", *options)
        try:
            async with answering(process, "live" if options else "ready", api_key) as server:
                yield server
        finally:
            await process.kill()

    async def close(self) -> None:
        """Kill whatever still runs."""
        for process in self._started:
            await process.kill()


@asynccontextmanager
async def answering(process: Process, health: str, api_key: str | None = ADMIN_KEY) -> AsyncIterator[Server]:
    """The doors of a `heliograph serve`, once it is as healthy as asked: "live" or "ready"."""
    url = await _url(process)
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        await _ready(process, http, health)
        yield Server(process.running, process.output_file, process.errors_file, url, Doors(http, api_key))


def _variables(settings: dict[str, object]) -> dict[str, str]:
    return {f"HELIOGRAPH_{name.upper()}": str(value) for name, value in settings.items()}


async def _url(process: Process) -> str:
    async with asyncio.timeout(PATIENCE):
        while not (found := re.search(r"^Heliograph serves (http://\S+:\d+)$", process.output, re.MULTILINE)):
            assert process.running.returncode is None, process.errors
            await asyncio.sleep(0.02)
    return found[1]


async def _ready(process: Process, http: httpx2.AsyncClient, what: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await http.get(f"/health/{what}", timeout=PATIENCE)).status_code != 200:
            assert process.running.returncode is None, process.errors
            await asyncio.sleep(0.02)

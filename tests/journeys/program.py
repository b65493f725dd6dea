"""The program as its operator runs it: another process, in a folder of its own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import ClassVar, Protocol, Self

import httpx2

from tests.http import http_client
from tests.journeys.doors import Doors
from tests.journeys.prefork import Prefork

ROOT = Path(__file__).parents[2]
ADMIN_KEY = "journey-admin-key-0123456789"
PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command that ended by itself left."""

    status: int
    output: str
    errors: str


class Running(Protocol):
    """A process: one of asyncio's, or one that was forked off."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...


@dataclass
class Process:
    """A running `heliograph`; what it says is in two files."""

    running: Running
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
    """An installation: a folder, and settings in the environment, of which nothing else reaches the program.

    Its processes are started by `prefork` where there is one, else as an operator's shell starts them. The tests of
    this folder have one (conftest.py); its programs and the benchmarks do not.
    """

    prefork: ClassVar[Prefork | None] = None

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    _started: list[Process] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def having(self, **settings: object) -> Self:
        """The same folder with more settings: `lease=2` is HELIOGRAPH_LEASE."""
        return replace(self, settings=self.settings | _variables(settings))

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
        for file, content in zip(files, (typed, "", ""), strict=True):
            file.write_text(content)
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.settings}
        if self.prefork is not None:
            running: Running = self.prefork.start(arguments, self.folder, environment, files)
        else:
            running = await _executed(arguments, self.folder, environment, files)
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
    async with http_client(url) as http:
        await _ready(process, http, health)
        yield Server(process.running, process.output_file, process.errors_file, url, Doors(http, api_key))


async def _executed(
    arguments: Sequence[str], folder: Path, environment: dict[str, str], files: Sequence[Path]
) -> asyncio.subprocess.Process:
    with files[0].open() as stdin, files[1].open("w") as stdout, files[2].open("w") as stderr:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "app.cli", *arguments),
            cwd=folder,
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )


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

"""Programs whose instructions callgrind counts: the same in each run, whatever else the machine does."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import ROOT, SERVER_CORE, pinned, running
from tests.journeys.program import Heliograph, Process

SETTLED = 0.5
"""Seconds after the work in which a program ends what it began."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A program under callgrind. `file`: what callgrind writes into, and names the files of its dumps after."""

    pid: int
    file: Path

    async def instructions(self, work: Coroutine[Any, Any, None]) -> int:
        """How many it executes, on all its threads, until `work` is done and SETTLED seconds have passed. Once for each
        program. What the kernel does for it is not counted."""
        await self._tell("--instr=on")
        await self._tell("--zero")
        await work
        await asyncio.sleep(SETTLED)
        await self._tell("--instr=off")
        await self._tell("--dump")
        dumped = self.file.with_name(f"{self.file.name}.1").read_text()
        return next(int(line.split()[1]) for line in dumped.splitlines() if line.startswith("totals:"))

    async def _tell(self, option: str) -> None:
        command = ["callgrind_control", option, str(self.pid)]
        quiet = asyncio.subprocess.DEVNULL
        told = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
        if await told.wait():
            raise RuntimeError(f"callgrind did not heed {option}")


@asynccontextmanager
async def counted_echo() -> AsyncIterator[tuple[Counted, str]]:
    """The echo under callgrind, and its URL."""
    with tempfile.TemporaryDirectory(prefix="callgrind-") as name:
        file = Path(name) / "echo"
        async with running([*_under_callgrind(file), "benchmarks.peers.echo"], SERVER_CORE, _REPEATED) as program:
            yield Counted(program.pid, file), f"http://127.0.0.1:{(await program.ask())['port']}"


async def begun(installed: Heliograph, *arguments: str) -> tuple[Process, Counted]:
    """Start a command of Heliograph under callgrind."""
    file = installed.folder / "counted"
    files = [installed.folder / f"counted.{name}" for name in ("out", "err")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **installed.settings, **_REPEATED}
    command = [*_under_callgrind(file), "app.cli", *arguments]
    with files[0].open("w") as out, files[1].open("w") as errors, pinned(SERVER_CORE):
        process = await asyncio.create_subprocess_exec(
            *command, cwd=installed.folder, env=environment, stdout=out, stderr=errors
        )
    return Process(process, *files), Counted(process.pid, file)


_REPEATED = {"PYTHONHASHSEED": "0"}


def _under_callgrind(file: Path) -> Sequence[str]:
    callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={file}"]
    return [*callgrind, sys.executable, "-m"]

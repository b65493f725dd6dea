"""Programs on a core of their own: how they are started and ended, what CPU time and memory they took."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SERVER_CORE = 0
LOAD_CORE = 1
PATIENCE = 60
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started in this block runs on this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} if core in _cores() else before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores() -> set[int]:
    return set(range(os.cpu_count() or 1))


@dataclass(slots=True)
class Program:
    """A running program that is asked by lines on its standard input and answers with lines of JSON."""

    process: asyncio.subprocess.Process
    errors: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def ask(self, line: str = "") -> Any:
        """The next line it writes, after it was told `line` where one is given."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if line:
            self.process.stdin.write(f"{line}\n".encode())
        async with asyncio.timeout(PATIENCE * 5):
            answer = await self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a program of the benchmark ended: {self.errors.read_text()[-2000:]}")
        return json.loads(answer)

    async def end(self) -> None:
        """By its id, if it still runs."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(5):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def running(
    arguments: Sequence[str], core: int, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> AsyncIterator[Program]:
    """Run a program on this core while the block runs."""
    with tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log") as errors, pinned(core):
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
        program = Program(process, Path(errors.name))
        os.sched_setaffinity(0, _cores())
        try:
            yield program
        finally:
            await program.end()


def python(module: str, *arguments: object) -> list[str]:
    """The command line of a module of this package."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / _TICK


def tree_cpu_seconds(pid: int) -> float:
    """The same with all its living descendants."""
    return cpu_seconds(pid) + sum(tree_cpu_seconds(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident_bytes(pid: int) -> int:
    """The memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def peak_bytes(pid: int) -> int:
    """The most it ever had, or had since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no peak is told of process {pid}")


def forget_peak(pid: int) -> None:
    """From now on the peak is counted anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")

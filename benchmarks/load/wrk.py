"""wrk with 32 connections that are kept alive: as many requests as the server takes."""

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.load.requests import Post
from benchmarks.process import LOAD_CORE, pinned

CONNECTIONS = 32
WARM_UP = 1.0
ANSWERED_WITHIN = 120
"""Seconds after the last POST in which all have to be answered."""
SCRIPT = Path(__file__).with_name("load.lua")


class LoadFailed(RuntimeError):
    """Requests were refused, or not answered: what was measured is worth nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was sent, all of it answered with 2xx. `rate` and `cpu` are of the seconds that count."""

    sent: int
    rate: float
    cpu: float
    began: float

    @property
    def cpu_each(self) -> float:
        """Microseconds of CPU for each request."""
        return self.cpu * 1e6


async def post_all(url: str, post: Post, seconds: float, cpu: Callable[[], float], first: int = 1) -> Load:
    """Send for so many seconds, numbered from `first` on; `cpu` says what CPU time the server has taken so far."""
    with tempfile.NamedTemporaryFile("w", suffix=".http", newline="") as request:
        request.write(post.raw())
        request.flush()
        began = time.monotonic()
        start, end = began + WARM_UP, began + WARM_UP + seconds
        options = [*("-t1", f"-c{CONNECTIONS}", "--timeout", "600s"), "-d", f"{int(seconds + ANSWERED_WITHIN)}s"]
        arguments = ["-s", str(SCRIPT), _root(url), "--", request.name, *map(str, (first, start, end, CONNECTIONS))]
        with pinned(LOAD_CORE):
            wrk = await asyncio.create_subprocess_exec("wrk", *options, *arguments, stdout=asyncio.subprocess.PIPE)
        cpu_at_start = await _at(start, cpu)
        cpu_at_end = await _at(end, cpu)
        output = await _ended(wrk)
    told = json.loads(output.splitlines()[-1])
    if "answered\n" not in output:
        raise LoadFailed(f"{url}: not every request was answered within {ANSWERED_WITHIN} s: {told}")
    if told["refused"] or told["broken"] or not told["sent"]:
        raise LoadFailed(f"{url}: not every request was answered with 2xx: {told}")
    return Load(told["sent"], told["measured"] / seconds, (cpu_at_end - cpu_at_start) / max(told["measured"], 1), began)


async def _ended(wrk: asyncio.subprocess.Process) -> str:
    """What it writes at its end, which is when every POST is answered."""
    assert wrk.stdout is not None
    lines = []
    while line := (await wrk.stdout.readline()).decode():
        lines.append(line)
        if line == "answered\n":
            wrk.send_signal(signal.SIGINT)
    await wrk.wait()
    return "".join(lines)


async def _at(moment: float, cpu: Callable[[], float]) -> float:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
    return cpu()


def _root(url: str) -> str:
    return urlsplit(url)._replace(path="/", query="").geturl()

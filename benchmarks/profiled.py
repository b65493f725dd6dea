"""Run `heliograph`, and profile it between two signals; for benchmarks.profile.

    python -m benchmarks.profiled FILE serve --no-worker

From SIGUSR1 on every thread is profiled, until SIGUSR2; then FILE has the statistics of each.
"""

import cProfile
import marshal
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any


class Profiles:
    """A profile of the CPU time of each thread. Threads that began before are profiled from their beginning."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._main = cProfile.Profile(time.thread_time)
        self._threads: list[tuple[str, cProfile.Profile]] = []

    def follow_threads(self) -> None:
        """Every thread that begins from now on gets a profile."""
        run, threads = threading.Thread.run, self._threads

        def profiled_run(thread: threading.Thread) -> None:
            threads.append((thread.name, profile := cProfile.Profile(time.thread_time)))
            profile.runcall(run, thread)

        threading.Thread.run = profiled_run  # type: ignore[method-assign,assignment]

    def begin(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGUSR1."""
        for _, profile in self._threads:
            profile.clear()
        self._main.enable()

    def write(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGUSR2."""
        self._main.disable()
        told = {name: _statistics(profile) for name, profile in self._threads}
        written = self._file.with_suffix(".part")
        written.write_bytes(marshal.dumps({"main": _statistics(self._main)} | told))
        os.replace(written, self._file)


def _statistics(profile: cProfile.Profile) -> dict[Any, Any]:
    """As pstats has them, without ending the profile of a thread that goes on."""
    profile.snapshot_stats()
    return profile.stats


def main() -> int:
    """The program."""
    profiles = Profiles(Path(sys.argv[1]))
    signal.signal(signal.SIGUSR1, profiles.begin)
    signal.signal(signal.SIGUSR2, profiles.write)
    profiles.follow_threads()
    from app.cli import main as heliograph

    return heliograph(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

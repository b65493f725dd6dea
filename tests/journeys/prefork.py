"""Starts the program without loading it anew each time: by a fork of a process that has loaded it.

What is forked off is a process like any other, with its own arguments, folder, environment and files; what it does
without is the second that Python takes to import the libraries.
"""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]


class Prefork:
    """The process that has loaded the program. One thing is asked of it at a time, as a line of JSON."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journeys.prefork"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], files: Sequence[Path]
    ) -> "Forked":
        """Start `heliograph` in the folder; `files`, which exist, are its standard input, output and error."""
        asked = [list(arguments), str(folder), dict(environment), [str(file) for file in files]]
        return Forked(self, self._ask({"start": asked}))

    def reap(self, pid: int) -> int:
        """The exit status of a process that has ended, negative for the signal that ended it."""
        return self._ask({"reap": pid})

    def close(self) -> None:
        """End it; what was forked off goes on."""
        self._process.communicate()

    def _ask(self, question: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Forked:
    """A process started by it, to be used as one of asyncio's is."""

    def __init__(self, parent: Prefork, pid: int) -> None:
        self.pid = pid
        self._parent = parent
        self._handle = os.pidfd_open(pid)
        self._has_ended = select.poll()
        self._has_ended.register(self._handle, select.POLLIN)
        self._status: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for the signal that ended it; None while it runs."""
        if self._status is None and self._has_ended.poll(0):
            self._status = self._parent.reap(self.pid)
            os.close(self._handle)
        return self._status

    async def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        loop = asyncio.get_running_loop()
        while (status := self.returncode) is None:
            ended = asyncio.Event()
            loop.add_reader(self._handle, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._handle)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)


def _answer_questions() -> None:
    with open(0, "rb", closefd=False) as questions:
        for line in questions:
            question = json.loads(line)
            answer = _fork(*question["start"]) if "start" in question else _reap(question["reap"])
            os.write(1, b"%d\n" % answer)


def _reap(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _fork(arguments: list[str], folder: str, environment: dict[str, str], files: list[str]) -> int:
    return os.fork() or _become(arguments, folder, environment, files)


def _become(arguments: list[str], folder: str, environment: dict[str, str], files: list[str]) -> NoReturn:
    """What Python does between its start and the program's first line, and after its last."""
    status = 1
    try:
        for number, (file, flags) in enumerate(zip(files, _FLAGS, strict=True)):
            opened = os.open(file, flags)
            os.dup2(opened, number)
            os.close(opened)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[0] = folder
        sys.argv = ["heliograph", *arguments]
        from app.cli import main

        status = main(arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _leave(status)


def _leave(status: int) -> NoReturn:
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


_FLAGS = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)
_LOADED_BY_UVICORN = ("uvloop", "uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.websockets.auto")

if __name__ == "__main__":
    import gc
    from importlib import import_module

    import app.cli
    import app.queue.pgqueuer
    import app.serve  # noqa: F401
    from app.database.configuration import MODELS
    from app.graphql.schema import make_schema

    for module in (*MODELS, "app.database.asyncpg", "app.database.sqlite", *_LOADED_BY_UVICORN):
        import_module(module)
    make_schema()  # which loads what it needs only then
    gc.freeze()
    _answer_questions()

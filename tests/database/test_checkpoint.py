"""SQLite's log is copied into the database beside who writes, is begun anew under load, and fails nobody's commit."""

import asyncio
import fcntl
import logging
import os
import resource
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.clock import now
from app.database.checkpoint import Checkpointer
from app.database.configuration import sqlite_path
from app.database.connection import (
    _plain_client,
    close_database,
    execute,
    in_transaction,
    open_database,
    rows,
    transaction,
)
from app.database.key import new_key
from app.settings import Settings
from tests.database.conftest import ROOT

Python = Callable[..., Awaitable[tuple[int, str, str]]]

MIB = 1024 * 1024
NEVER = 10**9
INSERT = "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, 'host', $2, $3, $3)"


async def write(pid: int) -> None:
    async def work() -> None:
        await execute(INSERT, new_key(), pid, now())

    await in_transaction(work)


@asynccontextmanager
async def opened(settings: Settings, commits: int = 4, pages: int = 50) -> AsyncIterator[Path]:
    """The database open. Yields its log."""
    sizes = {"sqlite_checkpoint_commits": commits, "sqlite_checkpoint_pages": pages}
    await open_database(settings.model_copy(update=sizes))
    try:
        yield Path(f"{sqlite_path(settings.database_url)}-wal")
    finally:
        await close_database()


@pytest.fixture
def other(sqlite_settings: Settings) -> Iterator[sqlite3.Connection]:
    """A connection of the test's own, which does no checkpoint by itself."""
    with closing(sqlite3.connect(sqlite_path(sqlite_settings.database_url), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("CREATE TABLE note (octets BLOB)")
        yield connection


def size(path: str) -> int:
    return Path(path).stat().st_size


def open_files() -> set[str]:
    """What this process has open."""
    return {str(Path(entry.path).readlink()) for entry in os.scandir("/proc/self/fd")}


def note(connection: sqlite3.Connection, size: int) -> None:
    connection.execute("INSERT INTO note VALUES (zeroblob(?))", (size,))


async def write_many(pids: Iterable[int], burst: int = 20) -> None:
    """Wait for what is being copied after each burst: how far the thread gets meanwhile is up to the machine."""
    client: Any = _plain_client()
    for number, pid in enumerate(pids, start=1):
        await write(pid)
        if number % burst == 0 and client._checkpointer._under_way is not None:
            await _is_over(client._checkpointer)


async def written_log(settings: Settings, commits: int, pages: int, burst: int = 20) -> int:
    """The size of the log after a thousand commits."""
    async with opened(settings, commits, pages) as log:
        await write_many(range(1000), burst)
        return log.stat().st_size


async def test_the_log_stays_short_however_much_is_written(sqlite_settings: Settings) -> None:
    assert await written_log(sqlite_settings, NEVER, NEVER) > 12 * MIB
    assert await written_log(sqlite_settings, 4, NEVER, burst=4) < MIB
    assert await written_log(sqlite_settings, 4, 50) < MIB
    async with opened(sqlite_settings):
        assert await rows("SELECT count(*) AS n FROM worker") == [{"n": 3000}]


@pytest.mark.parametrize("pages", [1, NEVER])
async def test_what_is_left_of_a_long_log_is_copied_while_nobody_here_writes(
    sqlite_settings: Settings, other: sqlite3.Connection, pages: int
) -> None:
    quiet: list[str] = []

    @asynccontextmanager
    async def block() -> AsyncIterator[None]:
        quiet.append("begins")
        reader.execute("COMMIT")
        yield
        quiet.append("ends")

    path = sqlite_path(sqlite_settings.database_url)
    checkpointer = Checkpointer(path, 1000, commits=1, pages=pages, quiet=block)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        note(other, MIB)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM note").fetchone() == (1,)
        note(other, MIB)
        grown = size(f"{path}-wal")
        checkpointer.count_commit()
        await _is_over(checkpointer)
        assert quiet == (["begins", "ends"] if pages == 1 else [])
        note(other, MIB)
        assert (size(f"{path}-wal") == grown) is (pages == 1)  # begun anew, in the same file
    await checkpointer.close()


async def test_it_is_copied_beside_who_writes(sqlite_settings: Settings, other: sqlite3.Connection) -> None:
    path = sqlite_path(sqlite_settings.database_url)
    before = size(path)
    note(other, MIB)
    assert size(path) == before
    other.execute("BEGIN IMMEDIATE")
    note(other, 1)
    checkpointer = Checkpointer(path, 1000, commits=2, pages=NEVER, quiet=nullcontext)
    checkpointer.count_commit()
    assert checkpointer._under_way is None
    checkpointer.count_commit()
    await _is_over(checkpointer)
    assert size(path) > before + MIB // 2  # some of it goes where migrations left pages free
    other.execute("COMMIT")
    await checkpointer.close()
    assert other.execute("SELECT count(*) FROM note").fetchone() == (2,)


async def test_a_log_that_is_copied_and_one_that_another_process_copies_are_let_be(
    sqlite_settings: Settings, other: sqlite3.Connection
) -> None:
    """A checkpoint that begins while the log is begun anew would lose what is written then."""
    path = sqlite_path(sqlite_settings.database_url)
    checkpointer = Checkpointer(path, 1000, commits=1, pages=NEVER, quiet=nullcontext)
    made: list[str] = []
    elsewhere = os.open(path, os.O_RDONLY)
    with closing(sqlite3.connect(path, isolation_level=None)) as copying:
        copying.set_trace_callback(made.append)
        for _ in range(2):
            note(other, 1)
            for _ in range(3):
                checkpointer._copy(copying)
        assert made == ["PRAGMA wal_checkpoint(PASSIVE)"] * 2
        note(other, 1)
        fcntl.flock(elsewhere, fcntl.LOCK_EX)
        checkpointer._copy(copying)
        assert len(made) == 2
        fcntl.flock(elsewhere, fcntl.LOCK_UN)
        checkpointer._copy(copying)
        assert len(made) == 3
    os.close(elsewhere)
    await checkpointer.close()


async def test_who_commits_makes_none(sqlite_database: Settings) -> None:
    async with transaction():
        assert await rows("PRAGMA wal_autocheckpoint") == [{"wal_autocheckpoint": 0}]


async def _is_over(checkpointer: Checkpointer) -> None:
    assert checkpointer._under_way is not None
    async with asyncio.timeout(10):
        await checkpointer._under_way


async def test_a_long_reader_delays_it_and_sees_what_it_saw(
    sqlite_settings: Settings, other: sqlite3.Connection
) -> None:
    async with opened(sqlite_settings) as log:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM worker").fetchone() == (0,)
        for pid in range(500):
            await write(pid)
        assert other.execute("SELECT count(*) FROM worker").fetchone() == (0,)
        grown = log.stat().st_size
        assert grown > 6 * MIB
        other.execute("COMMIT")
        await write_many(range(500))
        assert log.stat().st_size < grown + MIB
        assert other.execute("SELECT count(*) FROM worker").fetchone() == (1000,)


@contextmanager
def no_more_files() -> Iterator[None]:
    """No file can be opened in this block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_one_that_fails_fails_nobodys_commit_is_logged_and_tried_again(
    sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(sqlite_settings, commits=1, pages=NEVER) as log:
        with no_more_files():
            for pid in range(500):
                await write(pid)
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("app.database.checkpoint", logging.WARNING)
        assert record.getMessage() == "a checkpoint of the database failed; it is tried again (OperationalError)"
        grown = log.stat().st_size
        await write_many(range(500), burst=1)
        assert log.stat().st_size < grown + MIB
        assert await rows("SELECT count(*) AS n FROM worker") == [{"n": 1000}]


async def test_closing_ends_it(sqlite_settings: Settings) -> None:
    path = sqlite_path(sqlite_settings.database_url)
    before = set(threading.enumerate())
    async with opened(sqlite_settings, commits=1, pages=1) as log:
        for pid in range(20):
            await write(pid)
        began = set(threading.enumerate()) - before
        assert len(began) == 2
        assert path in open_files()
    for thread in began:
        thread.join(10)
        assert not thread.is_alive()
    assert not log.exists()
    assert path not in open_files()


WRITE = """
import asyncio, sys
from app.clock import now
from app.database.connection import close_database, execute, open_database
from app.database.key import new_key
from app.settings import Settings

async def main(url, times):
    await open_database(Settings(database_url=url, sqlite_checkpoint_commits=1, sqlite_checkpoint_pages=20))
    for pid in range(int(times)):
        await execute(
            "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, 'host', $2, $3, $3)",
            new_key(), pid, now(),
        )
        print(pid, flush=True)
    await close_database()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_several_processes_copy_the_log_of_one_database(sqlite_settings: Settings, python: Python) -> None:
    outcomes = await asyncio.gather(*(python(WRITE, sqlite_settings.database_url, "300") for _ in range(3)))
    assert [(status, errors) for status, _, errors in outcomes] == [(0, "")] * 3
    async with opened(sqlite_settings):
        assert await rows("SELECT count(*) AS n FROM worker") == [{"n": 900}]
        assert await rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


async def test_what_was_committed_is_there_after_a_kill(sqlite_settings: Settings, clean_environment: None) -> None:
    committed = 0
    for kill_after in (100, 150, 200):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITE,
            sqlite_settings.database_url,
            str(NEVER),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        told = [await process.stdout.readline() for _ in range(kill_after)]
        process.kill()
        told += (await process.stdout.read()).splitlines(keepends=True)
        await process.wait()
        committed += sum(line.endswith(b"\n") for line in told)
        async with opened(sqlite_settings):
            (row,) = await rows("SELECT count(*) AS n FROM worker")
            assert committed <= row["n"] <= committed + 1
            assert await rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
            committed = row["n"]

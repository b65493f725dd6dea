"""What only SQLite needs: its pragmas, its one writer among several processes, its scripts."""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tortoise.exceptions import OperationalError

from app.clock import now
from app.database.configuration import sqlite_path
from app.database.connection import close_database, execute, is_transient, open_database, rows, transaction
from app.database.key import new_key
from app.database.migrate import migrate
from app.settings import Settings

Python = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)],
)
async def test_an_acknowledged_write_survives_a_power_cut(
    sqlite_database: Settings, pragma: str, value: object
) -> None:
    (row,) = await rows(f"PRAGMA {pragma}")
    assert list(row.values()) == [value]


async def test_the_busy_timeout_comes_from_the_settings(sqlite_settings: Settings) -> None:
    await open_database(sqlite_settings.model_copy(update={"database_busy_timeout": 0.25}))
    try:
        assert await rows("PRAGMA busy_timeout") == [{"timeout": 250}]
    finally:
        await close_database()


@pytest.mark.parametrize("first", [migrate, open_database])
async def test_a_new_database_can_be_read_by_its_owner_only(
    first: Callable[[Settings], Awaitable[object]], tmp_path: Path, clean_environment: None
) -> None:
    settings = Settings(database_url=f"sqlite://{tmp_path / 'new.db'}")
    umask = os.umask(0o022)
    try:
        await first(settings)
        await close_database()
        await open_database(settings)
        await execute("CREATE TABLE mail (octets BLOB)")
        modes = {file.name: file.stat().st_mode & 0o777 for file in os.scandir(tmp_path)}
    finally:
        os.umask(umask)
        await close_database()

    assert {"new.db", "new.db-wal", "new.db-shm"} <= modes.keys()
    assert set(modes.values()) == {0o600}


async def test_the_mode_of_a_database_that_is_there_is_left_alone(tmp_path: Path, clean_environment: None) -> None:
    (path := tmp_path / "shared.db").touch()
    path.chmod(0o640)
    await open_database(Settings(database_url=f"sqlite://{path}"))
    await close_database()

    assert path.stat().st_mode & 0o777 == 0o640


COUNT = """
import asyncio, sys
from app.database.connection import close_database, execute, open_database, rows, transaction
from app.settings import Settings

async def count() -> None:
    await open_database(Settings(database_url=sys.argv[1], database_busy_timeout=60))
    try:
        for _ in range(100):
            async with transaction():
                (row,) = await rows("SELECT pid FROM worker")
                await execute("UPDATE worker SET pid = $1", row["pid"] + 1)
    finally:
        await close_database()

asyncio.run(count())
"""


async def test_processes_that_read_and_then_write_never_find_the_database_locked(
    sqlite_database: Settings, python: Python
) -> None:
    await execute(
        "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, 'host', 0, $2, $2)", new_key(), now()
    )
    outcomes = await asyncio.gather(*(python(COUNT, sqlite_database.database_url) for _ in range(3)))
    assert outcomes == [(0, "", "")] * 3
    assert await rows("SELECT pid FROM worker") == [{"pid": 300}]


async def test_a_writer_waits_for_another_and_then_says_that_it_may_try_again(sqlite_settings: Settings) -> None:
    await open_database(sqlite_settings.model_copy(update={"database_busy_timeout": 0.05}))
    other = sqlite3.connect(sqlite_path(sqlite_settings.database_url), isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked") as caught:
            async with transaction():
                pytest.fail("there are two writers")
        assert is_transient(caught.value)
        other.execute("ROLLBACK")
        async with transaction():
            assert await execute("DELETE FROM worker") == 0
    finally:
        other.close()
        await close_database()


async def test_a_script_inside_a_transaction_is_undone_with_it(sqlite_database: Settings) -> None:
    script = """
        CREATE TABLE note (text TEXT DEFAULT 'a;b'); -- a comment; with a semicolon
        CREATE TRIGGER copy AFTER INSERT ON note WHEN new.text = 'a;b' BEGIN
            INSERT INTO note VALUES ('c'); INSERT INTO note VALUES ('d');
        END;
        INSERT INTO note DEFAULT VALUES
    """
    with pytest.raises(LookupError):
        await _run_and_fail(script)
    assert await rows("SELECT name FROM sqlite_master WHERE name IN ('note', 'copy')") == []


async def _run_and_fail(script: str) -> None:
    async with transaction() as within:
        await within.execute_script(script)
        assert [row["text"] for row in await rows("SELECT text FROM note ORDER BY text")] == ["a;b", "c", "d"]
        raise LookupError


async def test_a_dollar_inside_quotes_is_no_argument(sqlite_database: Settings) -> None:
    assert await rows("""SELECT $2 AS "$1", 'it''s $3' AS b, $1 AS c""", 1, 2) == [{"$1": 2, "b": "it's $3", "c": 1}]

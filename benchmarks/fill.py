"""A queue of any length, by plain SQL: copies of a message that was accepted."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

JOBS_TABLE = "heliograph_pgqueuer"
_SQLITE_ID = "printf('0190{block:04x}-0000-7000-8000-%012x', n)"
_POSTGRES_ID = "('0190{block:04x}-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"


async def fill(database_url: str, service: str, first: int, last: int, block: int = 0) -> None:
    """The newest queued message of this service once more for each number `first` to `last`; a `block` of numbers of
    its own keeps services apart. Only what a claim reads is copied: the message, its recipient, its job."""
    if database_url.startswith("sqlite"):
        _fill_sqlite(Path(database_url.removeprefix("sqlite://")), service, first, last, _SQLITE_ID.format(block=block))
    else:
        await _fill_postgres(database_url, service, first, last, _POSTGRES_ID.format(block=block))


_ORIGINAL = "SELECT id FROM message WHERE service_name = {place} AND state = 'queued' ORDER BY created_at LIMIT 1"


def _fill_sqlite(path: Path, service: str, first: int, last: int, key: str) -> None:
    series = f"(WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s)"
    with closing(sqlite3.connect(path, timeout=60)) as connection, connection:
        (original,) = connection.execute(_ORIGINAL.format(place="?"), [service]).fetchone()
        for table, column, changes in _copies(key):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            connection.execute(_copy(table, columns, changes, series, f"{column} = '{original}'"))


async def _fill_postgres(url: str, service: str, first: int, last: int, key: str) -> None:
    import asyncpg

    session = await asyncpg.connect(url)
    try:
        await session.execute("SET session_replication_role = replica")  # no trigger tells workers of each row
        original = await session.fetchval(_ORIGINAL.format(place="$1"), service)
        series = f"generate_series({first}, {last}) AS s(n)"
        for table, column, changes in _copies(key):
            columns = await _columns(session, table)
            await session.execute(_copy(table, columns, changes, series, f"{column} = '{original}'"))
        job = {"payload": f"uuid_send({key})", "dedupe_key": f"({key})::text"}
        columns = [column for column in await _columns(session, JOBS_TABLE) if column != "id"]
        await session.execute(_copy(JOBS_TABLE, columns, job, series, f"dedupe_key = '{original}'"))
        await session.execute("ANALYZE")
    finally:
        await session.close()


def _copies(key: str) -> list[tuple[str, str, dict[str, str]]]:
    return [("message", "id", {"id": key}), ("recipient", "message_id", {"id": key, "message_id": key})]


def _copy(table: str, columns: list[str], changes: Mapping[str, str], series: str, where: str) -> str:
    values = ", ".join(changes.get(column, f"{table}.{column}") for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, {series} WHERE {table}.{where}"


async def _columns(session: "asyncpg.Connection[asyncpg.Record]", table: str) -> list[str]:
    found = await session.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position", table
    )
    return [record[0] for record in found]

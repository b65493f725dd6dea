"""One statement of plain SQL as SQLite takes it, and the errors it answers with."""

import re
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tortoise.exceptions import IntegrityError, OperationalError


def fetched(connection: sqlite3.Connection, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows of one statement, by column name. On the connection's thread; raises in Tortoise's words."""
    cursor = _executed(connection, sql, args)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in _rows(cursor)]


def listed(connection: sqlite3.Connection, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of one statement. As `fetched`."""
    return _rows(_executed(connection, sql, args))


def touched(connection: sqlite3.Connection, sql: str, args: Sequence[Any]) -> int:
    """How many rows one INSERT, UPDATE or DELETE without RETURNING touched, not counting cascades. As `fetched`."""
    cursor = _executed(connection, sql, args)
    if cursor.rowcount < 0 and sql.lstrip()[:4].upper() == "WITH":
        (count,) = connection.execute("SELECT changes()").fetchone()
        return int(count)
    return max(cursor.rowcount, 0)


def _rows(cursor: sqlite3.Cursor) -> list[tuple[Any, ...]]:
    cursor.row_factory = None  # plain tuples: Tortoise's connection would make a sqlite3.Row of each
    try:
        return cursor.fetchall()
    except sqlite3.Error as error:
        raise translated(error) from error


def _executed(connection: sqlite3.Connection, sql: str, args: Sequence[Any]) -> sqlite3.Cursor:
    try:
        return connection.execute(numbered(sql), args)
    except sqlite3.Error as error:
        raise translated(error) from error


@lru_cache(maxsize=1024)
def numbered(sql: str) -> str:
    """$1 is ?1 to SQLite. Text in quotes is left as it is."""
    return _PLACEHOLDER.sub(lambda found: f"?{found[1]}" if found[1] else found[0], sql)


_PLACEHOLDER = re.compile(r"'[^']*'|\"[^\"]*\"|\$(\d+)")


def translated(error: sqlite3.Error) -> Exception:
    """The exception Tortoise raises for the same error; anything else stays what it is."""
    if isinstance(error, sqlite3.IntegrityError):
        return IntegrityError(error)
    if isinstance(error, sqlite3.OperationalError):
        return OperationalError(error)
    return error

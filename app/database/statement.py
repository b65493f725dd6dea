"""One statement of plain SQL as SQLite takes it, and the errors it answers with."""

import re
import sqlite3
from functools import lru_cache

from tortoise.exceptions import IntegrityError, OperationalError


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

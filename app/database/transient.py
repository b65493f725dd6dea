"""Which database errors pass by themselves."""

import errno
import socket
import sqlite3

from tortoise.exceptions import DBConnectionError

# SQLSTATE classes: 08 connection, 40 rollback (deadlock, serialization), 53 resources (disk full, too many
# connections), 55P03 lock not available, 57 operator intervention (shutting down, starting up, statement timeout);
# 25006: the server is read-only, as one is that was just failed over from.
_SQLSTATES = ("08", "25006", "40", "53", "55P03", "57", "58030")
_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
    }
)
_CLOSED = ("InterfaceError", "InternalClientError")
_ERRNOS = frozenset(
    {errno.EDQUOT, errno.EHOSTUNREACH, errno.EMFILE, errno.ENETDOWN, errno.ENETUNREACH, errno.ENFILE, errno.ENOSPC}
)


def is_transient(exc: BaseException) -> bool:
    """Whether the same work, tried again later, can succeed: the connection was lost or is not there yet, something
    was locked, a deadlock or serialization failure, no free connection in time, the disk full."""
    original = _original(exc)
    if isinstance(original, ConnectionError | TimeoutError | socket.gaierror | DBConnectionError):
        return True
    if isinstance(original, sqlite3.Error):
        return getattr(original, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _SQLITE_CODES
    if isinstance(original, FileNotFoundError):
        return original.filename is None  # the Unix socket of a PostgreSQL that is down; a missing file has a name
    if isinstance(original, OSError):
        return original.errno in _ERRNOS
    sqlstate = getattr(original, "sqlstate", None)
    return str(sqlstate).startswith(_SQLSTATES) if sqlstate else _is_closed_connection(original)


def _original(exc: BaseException) -> BaseException:
    """The driver's exception inside the one Tortoise made of it."""
    inner = exc.args[0] if type(exc).__module__ == "tortoise.exceptions" and exc.args else None
    return inner if isinstance(inner, BaseException) else exc


def _is_closed_connection(exc: BaseException) -> bool:
    """asyncpg's errors for using a connection or pool that is gone, or one that just learns that it goes (the protocol
    is out of step then); by name, because the driver is optional."""
    return any(base.__module__.startswith("asyncpg.") and base.__name__ in _CLOSED for base in type(exc).__mro__)

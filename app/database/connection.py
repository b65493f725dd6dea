"""The open database: transactions, and plain SQL that is written once for SQLite and PostgreSQL.

SQL has $1, $2 … for its arguments, which may be UUID (or its text), aware datetime, bool, int, float, str, bytes or
None; JSON is passed as text. What models write, plain SQL reads and compares, and the other way round.
"""

import logging
from collections.abc import Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar, cast

from tortoise.context import TortoiseContext
from tortoise.log import db_client_logger

from app.database.configuration import is_sqlite, sqlite_file_exists, tortoise_config
from app.database.finish import finish
from app.database.group_commit import Unit, Work, current_unit
from app.database.insert import Insert, Rows, in_one_statement, in_one_statement_if
from app.database.transient import is_transient
from app.database.values import as_document, as_key, as_moment, kept_moment_text
from app.settings import Settings

__all__ = [
    "Dialect",
    "as_document",
    "as_key",
    "as_moment",
    "close_database",
    "data_version",
    "dialect",
    "execute",
    "execute_many",
    "finish",
    "in_transaction",
    "insert",
    "insert_if",
    "is_transient",
    "open_database",
    "opened_with",
    "rows",
    "stored_moment",
    "transaction",
]

Dialect = Literal["sqlite", "postgres"]
T = TypeVar("T")

_context: TortoiseContext | None = None
_settings: Settings | None = None
_dialect: Dialect | None = None


class _Client(Protocol):
    """What both clients, and their transactions, add to Tortoise's."""

    async def fetch(self, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]: ...
    async def run(self, sql: str, args: Sequence[Any]) -> int: ...
    async def run_many(self, sql: str, args: Sequence[Sequence[Any]]) -> None: ...
    async def in_transaction(self, work: Work[T], *, urgent: bool = False) -> T: ...


async def open_database(settings: Settings) -> None:
    """Connect, for the whole process: every task uses this database until `close_database`.

    Raises DatabaseUrlError, or what the driver raises when the database cannot be reached (see `is_transient`).
    RuntimeError when a database is open already.
    """
    global _context, _settings, _dialect
    if _context is not None:
        raise RuntimeError("a database is open already")
    if is_sqlite(settings.database_url):
        sqlite_file_exists(settings.database_url)
    context = TortoiseContext()
    try:
        await finish(_connect(context, settings))
    except BaseException:
        await finish(context.close_connections())
        raise
    _context, _settings = context, settings
    _dialect = cast(Dialect, context.db().capabilities.dialect)


async def _connect(context: TortoiseContext, settings: Settings) -> None:
    # At DEBUG, both log the values of every statement: sealed passwords and whole mails.
    for logger in (db_client_logger, logging.getLogger("aiosqlite")):
        logger.setLevel(logging.INFO)
    config = tortoise_config(
        settings.database_url,
        pool_size=settings.database_pool_size,
        busy_timeout=settings.database_busy_timeout,
        command_timeout=settings.database_command_timeout,
        checkpoint_commits=settings.sqlite_checkpoint_commits,
        checkpoint_pages=settings.sqlite_checkpoint_pages,
    )
    with context:
        await context.init(config, _enable_global_fallback=True)
    await context.db().create_connection(with_db=True)


async def close_database() -> None:
    """Close what `open_database` opened; does nothing when none is open. Every entry point ends with this."""
    global _context
    if _context is not None:
        context, _context = _context, None
        await finish(context.close_connections())


def transaction() -> AbstractAsyncContextManager[Any]:
    """`async with transaction():` commits at its end, rolls back on any exception. Inside another one: a savepoint.

    Models and plain SQL inside it take part. Never wait for the network inside one, and never start a task there:
    on SQLite every other statement of the process waits, and a task started inside is refused once it is over.
    """
    unit = current_unit.get()
    return _database().db()._in_transaction() if unit is None else unit.transaction()


async def in_transaction(work: Work[T], *, urgent: bool = False) -> T:
    """Run `work` in a transaction, and return what it returns once that is committed. Inside another one: a savepoint.

    `work` waits for nothing but plain SQL: on SQLite it runs on the connection's thread, and shares its commit with the
    others that come meanwhile (see group_commit); one that fails undoes itself alone. Cancelled, it has never begun, or
    runs to its end first. `urgent`: on SQLite it goes before everything else that waits.
    """
    unit = current_unit.get()
    if unit is not None:
        async with unit.transaction():
            return await work()
    return await _plain_client().in_transaction(work, urgent=urgent)


async def rows(sql: str, *args: Any) -> list[dict[str, Any]]:
    """The rows of a SELECT, or of a RETURNING, by column name. Decode values with `as_key` and its like."""
    return await _client().fetch(sql, args)


async def execute(sql: str, *args: Any) -> int:
    """How many rows an INSERT, UPDATE or DELETE touched, not counting cascades. For RETURNING use `rows`."""
    return await _client().run(sql, args)


async def execute_many(sql: str, args: Sequence[Sequence[Any]]) -> None:
    """Run the statement once for each element of `args`: all of them, or none."""
    if args:
        await _client().run_many(sql, args)


async def insert(*parts: tuple[Insert, Rows]) -> None:
    """Insert a row for each of the values; of several tables inside a transaction, on PostgreSQL in one statement."""
    unit = current_unit.get()
    if unit is not None:
        await unit.insert(parts)
        return
    filled = [part for part in parts if part[1]]
    if dialect() == "sqlite":
        for into, values in filled:
            await _plain_client().run_many(into.each, values)
    elif filled:
        statement, arguments = in_one_statement(filled)
        await _client().run(statement, arguments)


async def insert_if(verdict: str, asked: str, *parts: tuple[Insert, Rows]) -> str | None:
    """Insert as `insert` does, all of it where `verdict` is not null, and nothing else; returns the verdict, which is
    an SQL expression of the argument $1, `asked`. On PostgreSQL only.

    Outside of a transaction it is one, of one round trip, that is committed once this returns; cancelled, it runs to
    its end first.
    """
    statement, arguments = in_one_statement_if(verdict, asked, [part for part in parts if part[1]])
    (row,) = await finish(_client().fetch(statement, arguments))
    return cast(str | None, row["verdict"])


async def data_version() -> Hashable:
    """In a unit of work on SQLite, what is another one as soon as somebody else has written to the database, another
    process or another connection of this one (PRAGMA data_version), or work of this process was undone. Elsewhere None,
    which tells nothing."""
    unit = current_unit.get()
    return None if unit is None else await unit.data_version()


def stored_moment(moment: datetime) -> datetime | str:
    """The moment as an argument: for one that is in many rows, so that it is made text only once."""
    return kept_moment_text(moment) if dialect() == "sqlite" else moment


def dialect() -> Dialect:
    """Which SQL the open database speaks."""
    if _dialect is None:
        raise RuntimeError("no database is open")
    return _dialect


def opened_with() -> Settings:
    """The settings that the open database was opened with."""
    if _settings is None:
        raise RuntimeError("no database is open")
    return _settings


def _client() -> _Client | Unit:
    return current_unit.get() or _plain_client()


def _plain_client() -> _Client:
    return cast(_Client, _database().db())


def _database() -> TortoiseContext:
    if _context is None:
        raise RuntimeError("no database is open")
    return _context

"""Bring the schema up to date: one process at a time, each migration together with its record in one transaction."""

import asyncio
import fcntl
import logging
import os
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from importlib import import_module
from typing import Any

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.context import TortoiseContext
from tortoise.migrations.executor import MigrationExecutor
from tortoise.migrations.graph import MigrationKey
from tortoise.migrations.migration import Migration
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.migrations.schema_editor.sqlite import SqliteSchemaEditor
from tortoise.migrations.schema_generator.state import State

from app.database import configuration
from app.database.configuration import (
    APP_LABEL,
    DatabaseUrlError,
    is_postgres,
    is_sqlite,
    pgqueuer_is_installed,
    sqlite_file_exists,
    sqlite_path,
    tortoise_config,
)
from app.database.connection import dialect, rows
from app.database.described_state import DescribedState
from app.settings import Settings

_log = logging.getLogger(__name__)
_POSTGRES_LOCK = 0x48454C494F  # "HELIO": whoever migrates this database takes this advisory lock
_LOCK_POLL = 0.05
JOBS = "pgqueuer"
"""Stands for PgQueuer's schema among the names of migrations."""


class MigrationError(RuntimeError):
    """A migration left rows that refer to rows which do not exist."""


class NotMigrated(RuntimeError):
    """The database lacks migrations; the message says what to do."""


async def migrate(settings: Settings, *, until: str | None = None) -> list[str]:
    """Apply what is pending, oldest first, and then PgQueuer's schema; returns the names. Any number of processes may
    call it at once: one works, the others wait for it and find nothing left to do. Needs no open database. `until`:
    the last one to apply.

    A migration that fails leaves no trace and stops those after it: the driver's or Tortoise's exception is raised,
    or MigrationError. DatabaseUrlError where SQLite's folder does not exist, or cannot be written to.
    """
    if is_sqlite(settings.database_url):
        sqlite_file_exists(settings.database_url)
    # On SQLite without foreign keys: a migration that rebuilds a table must not delete the rows that refer to it.
    config = tortoise_config(settings.database_url, busy_timeout=settings.database_busy_timeout, foreign_keys=False)
    if is_sqlite(settings.database_url):
        # What a statement would undo may be a whole table, which need not fit in memory.
        config["connections"]["sqlite"]["credentials"]["temp_store"] = "FILE"
    async with TortoiseContext() as context:
        await context.init(config)
        client = context.db()
        async with _migration_lock(settings, client):
            pending = await _pending(client.execute_query_dict, client.capabilities.dialect)
            pending = [name for name in pending if until is None or name <= until]
            if pending:
                await _apply_all(pending, context, config["apps"])
            if until is None and await _migrate_jobs(settings):
                pending.append(JOBS)
        return pending


async def pending_migrations() -> list[str]:
    """The names of the migrations that the open database has not seen, oldest first. Raises what the driver raises."""
    pending = await _pending(rows, dialect())
    if dialect() == "postgres" and pgqueuer_is_installed() and await rows(_JOBS_MISSING):
        pending.append(JOBS)
    return pending


async def require_migrated() -> None:
    """Raise NotMigrated where the open database has not seen every migration."""
    if pending := await pending_migrations():
        raise NotMigrated(f"the database lacks {len(pending)} migrations; run `heliograph migrate` first")


def migration_names(module: str) -> list[str]:
    """Every migration of the package `module`, in the order of their numbers, in which they are applied."""
    return sorted(
        name for _, name, is_package in pkgutil.iter_modules(import_module(module).__path__) if not is_package
    )


async def _pending(fetch: Callable[[str], Awaitable[list[dict[str, Any]]]], dialect: str) -> list[str]:
    # Not through Tortoise's recorder, which takes any error for "nothing was ever applied".
    tables = await fetch(_FIND_RECORDS[dialect])
    applied = await fetch(_RECORDS) if tables else []
    seen = {record["name"] for record in applied}
    return [name for name in migration_names(configuration.migrations_module()) if name not in seen]


_FIND_RECORDS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'tortoise_migrations'",
    "postgres": "SELECT 1 WHERE to_regclass('tortoise_migrations') IS NOT NULL",
}
_RECORDS = f"SELECT name FROM tortoise_migrations WHERE app = '{APP_LABEL}'"  # noqa: S608


_JOBS_MISSING = "SELECT 1 WHERE to_regclass('heliograph_pgqueuer') IS NULL"


async def _migrate_jobs(settings: Settings) -> bool:
    if not is_postgres(settings.database_url) or not pgqueuer_is_installed():
        return False
    from app.database.jobs import migrate_jobs

    return await migrate_jobs(settings)


async def _apply_all(names: Sequence[str], context: TortoiseContext, apps: dict[str, Any]) -> None:
    """Each migration and its record, in one transaction unless the migration says `atomic = False`."""
    client = context.db()
    executor = _Executor(client, apps)
    await executor.loader.build_graph()
    # Tortoise asks for records even where there is no table of them, which would spoil a PostgreSQL transaction.
    await executor.recorder.ensure_schema(executor._schema_editor(atomic=False))
    state = await executor.project_state()
    for name in names:
        _log.info("applying migration %s", name)
        migration = executor.migration(MigrationKey(APP_LABEL, name))
        async with client._in_transaction() if migration.atomic else nullcontext(client) as within:
            executor.connection = executor.recorder.connection = within
            await migration.apply(state, schema_editor=executor._schema_editor(atomic=migration.atomic))
            # Tortoise's own order is to commit the migration first and to record it afterwards.
            await executor.recorder.record_applied(APP_LABEL, name)
            await _refuse_orphans(within)


class _Executor(MigrationExecutor):
    async def project_state(self) -> State:
        """The models as the migrations that are applied leave them."""
        applied = set(await self.recorder.applied_migrations())
        state = DescribedState.of({})
        for key in self._full_plan():
            if key in applied:
                await self.migration(key).apply(state, dry_run=True)
        return state

    def migration(self, key: MigrationKey) -> Migration:
        """The migration of this name, which is there."""
        found = self.loader.graph.nodes[key]
        assert found is not None, "the names come from the files"
        return found

    def _schema_editor(self, atomic: bool = True, collect_sql: bool = False) -> BaseSchemaEditor:
        editor = super()._schema_editor(atomic, collect_sql)
        if isinstance(editor, SqliteSchemaEditor):
            return _SqliteEditor(self.connection, atomic=atomic, collect_sql=collect_sql)
        return editor


class _SqliteEditor(SqliteSchemaEditor):
    """Leaves it to the client to tell statements apart; Tortoise splits at every semicolon, also inside quotes."""

    async def _run_sql(self, sql: str) -> None:
        if self.collect_sql:
            await super()._run_sql(sql)
        else:
            await self.client.execute_script(sql)


async def _refuse_orphans(client: BaseDBAsyncClient) -> None:
    if client.capabilities.dialect == "sqlite":
        orphans = await client.execute_query_dict("PRAGMA foreign_key_check")
        if orphans:
            tables = sorted({orphan["table"] for orphan in orphans})
            raise MigrationError(f"rows of {', '.join(tables)} refer to rows that do not exist")


@asynccontextmanager
async def _migration_lock(settings: Settings, client: BaseDBAsyncClient) -> AsyncIterator[None]:
    if client.capabilities.dialect == "sqlite":
        async with _file_lock(f"{sqlite_path(settings.database_url)}.migrate.lock"):
            yield
    else:
        async with _advisory_lock(settings.database_url):
            yield


@asynccontextmanager
async def _file_lock(path: str) -> AsyncIterator[None]:
    """The system frees the lock when its process dies. The file stays: removing it would let two processes in."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseUrlError(f"the database's folder cannot be written to: {path}: {error.strerror}") from None
    try:
        while not _try_lock(descriptor):  # noqa: ASYNC110 - another process cannot set an event of this one
            await asyncio.sleep(_LOCK_POLL)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def _advisory_lock(database_url: str) -> AsyncIterator[None]:
    """PostgreSQL frees the lock with the session that took it, so it has one of its own."""
    import asyncpg

    session = await asyncpg.connect(database_url)
    try:
        await session.execute("SELECT pg_advisory_lock($1)", _POSTGRES_LOCK)
        yield
    finally:
        await session.close()

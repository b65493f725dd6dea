"""Other processes, and databases that are still empty."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from tortoise.context import TortoiseContext
from tortoise.migrations.graph import MigrationKey

from app.database import configuration
from app.database.configuration import APP_LABEL, tortoise_config
from app.database.connection import close_database, dialect, open_database, rows
from app.database.described_state import DescribedState
from app.database.migrate import _Executor, migration_names
from app.settings import Settings

ROOT = Path(__file__).parents[2]

Python = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def python(clean_environment: None) -> Python:
    """Run a script in a process of its own: `await python(script, *arguments)` is (status, output, errors)."""

    async def run(script: str, *arguments: str) -> tuple[int, str, str]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, *arguments, cwd=ROOT, stdout=pipe, stderr=pipe
        )
        try:
            output, errors = await process.communicate()
        except BaseException:
            process.kill()
            raise
        return process.returncode or 0, output.decode(), errors.decode()

    return run


@pytest.fixture
def empty_settings(empty_databases: tuple[Settings, Settings]) -> Settings:
    """Settings with a database in which there is no table yet: once SQLite, once PostgreSQL."""
    return empty_databases[0]


@pytest.fixture(params=["sqlite", "postgres"])
def empty_databases(
    request: pytest.FixtureRequest, clean_environment: None, tmp_path: Path
) -> Iterator[tuple[Settings, Settings]]:
    """Two databases in which there is no table yet: once on SQLite, once on PostgreSQL."""
    if request.param == "sqlite":
        one, two = (f"sqlite://{tmp_path / name}.db" for name in ("one", "two"))
        yield Settings(database_url=one), Settings(database_url=two)
        return
    postgres: Any = request.getfixturevalue("postgres")
    one, two = postgres.create(), postgres.create()
    yield Settings(database_url=one), Settings(database_url=two)
    postgres.drop(one)
    postgres.drop(two)


Way = Literal["apply", "unapply"]
TakeMigration = Callable[[Way, str, Settings], Awaitable[None]]


@pytest.fixture
def take_migration() -> TakeMigration:
    """Applies one migration, or takes it back, whatever else is applied; its record stays as it is."""

    async def take(way: Way, name: str, settings: Settings) -> None:
        config = tortoise_config(settings.database_url, foreign_keys=False)
        async with TortoiseContext() as context:
            await context.init(config)
            executor = _Executor(context.db(), config["apps"])
            await executor.loader.build_graph()
            before = DescribedState.of({})
            for earlier in migration_names(configuration.migrations_module()):
                if earlier < name:
                    await executor.migration(MigrationKey(APP_LABEL, earlier)).apply(before, dry_run=True)
            migration = executor.migration(MigrationKey(APP_LABEL, name))
            run = {"apply": migration.apply, "unapply": migration.unapply}[way]
            await run(before, schema_editor=executor._schema_editor())

    return take


ForeignKeys = dict[tuple[str, str], tuple[str, str]]


@pytest.fixture
def foreign_keys() -> Callable[[], Awaitable[ForeignKeys]]:
    """Reads the open database's foreign keys: (table, column) to (table referred to, ON DELETE rule)."""

    async def read() -> ForeignKeys:
        found = await rows(_FOREIGN_KEYS[dialect()])
        return {(row["child"], row["col"]): (row["parent"], row["rule"]) for row in found}

    return read


@pytest.fixture
def catalogue() -> Callable[[Settings], Awaitable[set[str]]]:
    """Reads what a database consists of besides rows: a line for each table, column, constraint, index, trigger and
    function, with all that it says."""

    async def read(settings: Settings) -> set[str]:
        await open_database(settings)
        try:
            return {row["line"] for row in await rows(_CATALOGUE[dialect()])}
        finally:
            await close_database()

    return read


_FOREIGN_KEYS = {
    "sqlite": 'SELECT m.name AS child, f."from" AS col, f."table" AS parent, f.on_delete AS rule'
    " FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'",
    "postgres": "SELECT c.conrelid::regclass::text AS child, a.attname AS col, c.confrelid::regclass::text AS parent,"
    " CASE c.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE c.confdeltype::text END AS rule"
    " FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
    " WHERE c.contype = 'f'",
}

_CATALOGUE = {
    "sqlite": "SELECT type || ' on ' || name || ' ' || coalesce(sql, '') AS line FROM sqlite_master",
    "postgres": """
    SELECT 'index on ' || indexname || ' ' || indexdef AS line FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT concat_ws(' ', 'table', relname, relkind, obj_description(oid)) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'column', attrelid::regclass, attnum, attname, format_type(atttypid, atttypmod),
    attnotnull, attstorage, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) AND NOT attisdropped
    UNION ALL SELECT concat_ws(' ', 'constraint', conname, conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'trigger', tgenabled, pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """,
}

"""The migrations of the house: complete, safe, applied once, whoever applies them."""

import asyncio
import importlib
import re
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise

import pytest
from tortoise.context import TortoiseContext
from tortoise.exceptions import OperationalError
from tortoise.migrations import operations as stock
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.migrations.migration import Migration

from app.database.configuration import is_postgres, migrations_module, tortoise_config
from app.database.connection import close_database, dialect, execute, open_database, rows
from app.database.jobs import JOBS_TABLE
from app.database.migrate import JOBS, migrate, migration_names, pending_migrations
from app.settings import Settings
from tests.postgres import Postgres

NAMES = migration_names(migrations_module())
Python = Callable[..., Awaitable[tuple[int, str, str]]]
ForeignKeys = Callable[[], Awaitable[dict[tuple[str, str], tuple[str, str]]]]

MIGRATE = """
import asyncio, sys
from app.database.migrate import migrate
from app.settings import Settings
print(*asyncio.run(migrate(Settings(database_url=sys.argv[1]))))
"""


async def test_four_processes_migrate_one_fresh_database_once(empty_settings: Settings, python: Python) -> None:
    outcomes = await asyncio.gather(*(python(MIGRATE, empty_settings.database_url) for _ in range(4)))
    assert [status for status, _, _ in outcomes] == [0, 0, 0, 0], [errors for _, _, errors in outcomes]
    assert sorted(output.split() for _, output, _ in outcomes) == [[], [], [], _all(empty_settings)]


async def test_migrations_are_pending_until_they_are_applied(empty_settings: Settings) -> None:
    await open_database(empty_settings)
    try:
        assert await pending_migrations() == _all(empty_settings)
        assert await migrate(empty_settings) == _all(empty_settings)
        assert await pending_migrations() == []
        assert await migrate(empty_settings) == []
    finally:
        await close_database()


def _all(settings: Settings) -> list[str]:
    return [*NAMES, JOBS] if is_postgres(settings.database_url) else NAMES


async def test_migrate_brings_up_what_pgqueuer_lacks_and_keeps_its_jobs(postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url)
    await open_database(settings)
    try:
        await execute(f"INSERT INTO {JOBS_TABLE} (priority, entrypoint, status) VALUES (0, 'send:', 'queued')")
        await execute(f"DROP INDEX {JOBS_TABLE}_picked_slot_idx")
        assert await migrate(settings) == [JOBS]
        assert await migrate(settings) == []
        assert await rows("SELECT to_regclass($1) IS NOT NULL AS found", f"{JOBS_TABLE}_picked_slot_idx") == [
            {"found": True}
        ]
        assert await rows(f"SELECT COUNT(*) AS jobs FROM {JOBS_TABLE}") == [{"jobs": 1}]
    finally:
        await close_database()


@pytest.fixture
def empty_postgres_url(postgres: Postgres) -> Iterator[str]:
    url = postgres.create()
    yield url
    postgres.drop(url)


async def test_no_variable_of_the_environment_renames_pgqueuers_tables(
    empty_postgres_url: str, python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGQUEUER_PREFIX", "PGQUEUER_SCHEMA", "PGQUEUER_QUEUE_TABLE", "TRIGGER", "FUNCTION", "CHANNEL"):
        monkeypatch.setenv(name, "other")
    assert await python(MIGRATE, empty_postgres_url) == (0, " ".join([*NAMES, JOBS]) + "\n", "")
    await open_database(Settings(database_url=empty_postgres_url))
    try:
        found = await rows("SELECT tablename FROM pg_tables WHERE tablename LIKE '%pgqueuer%'")
    finally:
        await close_database()
    assert len(found) == 4
    assert all(row["tablename"].startswith(JOBS_TABLE) for row in found)


async def test_a_database_that_cannot_be_asked_is_not_taken_for_an_empty_one(database: Settings) -> None:
    await execute("ALTER TABLE tortoise_migrations RENAME COLUMN app TO label")
    with pytest.raises(OperationalError):
        await pending_migrations()
    with pytest.raises(OperationalError):
        await migrate(database)


async def test_the_models_and_the_migrations_agree() -> None:
    config = tortoise_config("sqlite://never-opened.db")
    async with TortoiseContext() as context:
        await context.init(config)
        assert context.apps is not None
        changes = await MigrationAutodetector(context.apps, config["apps"]).changes()
    assert [operation.describe() for change in changes for operation in change.operations] == [], (
        "run `tortoise makemigrations` and finish what it writes by hand; the first line of a model's docstring counts"
    )


UNSAFE = (stock.AlterField, stock.RemoveField, stock.RemoveConstraint, stock.AlterModelOptions, stock.RunSQL)


@pytest.mark.parametrize("name", NAMES)
def test_a_migration_uses_only_operations_that_keep_rows_and_indexes(name: str) -> None:
    migration: type[Migration] = importlib.import_module(f"{migrations_module()}.{name}").Migration
    unsafe = [operation.describe() for operation in migration.operations if type(operation) in UNSAFE]
    assert unsafe == [], "take these operations from app.database.operations"


def test_migrations_are_numbered_without_gaps_and_build_on_each_other() -> None:
    assert [name[:5] for name in NAMES] == [f"{number:04}_" for number in range(1, len(NAMES) + 1)]
    for earlier, name in pairwise(NAMES):
        migration: type[Migration] = importlib.import_module(f"{migrations_module()}.{name}").Migration
        assert ("heliograph", earlier) in migration.dependencies


UNIQUE = {
    ("access_grant", "role_id"),
    ("access_grant", "role_id", "service_id"),
    ("api_key", "digest"),
    ("api_key", "previous_digest"),
    ("content_slice", "content_id", "number"),
    ("idempotency_key", "role_id", "key"),
    ("large_content", "message_id"),
    ("recipient", "message_id", "position"),
    ("role", "name"),
    ("service", "name"),
    ("template", "name_key"),
    ("template", "number"),
    ("template_version", "template_id", "number"),
}


async def test_what_must_be_unique_is(database: Settings) -> None:
    found = {_index_columns(row["sql"]) for row in await rows(_INDEXES[dialect()]) if "UNIQUE" in row["sql"]}
    assert found >= UNIQUE


async def test_every_foreign_key_has_its_rule_and_an_index_that_finds_its_rows(
    database: Settings, foreign_keys: ForeignKeys
) -> None:
    keys = await foreign_keys()
    assert keys == {
        ("access_grant", "role_id"): ("role", "CASCADE"),
        ("access_grant", "service_id"): ("service", "CASCADE"),
        ("access_token", "service_id"): ("service", "CASCADE"),
        ("api_key", "role_id"): ("role", "CASCADE"),
        ("attempt", "message_id"): ("message", "CASCADE"),
        ("captured_mail", "service_id"): ("service", "CASCADE"),
        ("circuit", "service_id"): ("service", "CASCADE"),
        ("content_slice", "content_id"): ("large_content", "CASCADE"),
        ("event", "message_id"): ("message", "CASCADE"),
        ("idempotency_key", "message_id"): ("message", "CASCADE"),
        ("idempotency_key", "role_id"): ("role", "CASCADE"),
        ("large_content", "message_id"): ("message", "CASCADE"),
        ("message", "api_key_id"): ("api_key", "SET NULL"),
        ("message", "role_id"): ("role", "SET NULL"),
        ("message", "service_id"): ("service", "SET NULL"),
        ("message_content", "message_id"): ("message", "CASCADE"),
        ("recipient", "message_id"): ("message", "CASCADE"),
        ("template_version", "template_id"): ("template", "CASCADE"),
    }
    usable = [
        row["sql"] for row in await rows(_INDEXES[dialect()]) if not re.search(r"IS NULL|due_at|lease", row["sql"])
    ]
    leading = {_index_columns(sql)[:2] for sql in usable}
    assert set(keys) - leading <= {
        ("attempt", "message_id"),
        ("event", "message_id"),
        ("message_content", "message_id"),
        ("circuit", "service_id"),
        ("access_token", "service_id"),
    }  # their primary keys


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("attempt", ["message_id", "id"]),
        ("event", ["message_id", "id"]),
        ("message_content", ["message_id"]),
        ("counter", ["subject", "span", "starts_at"]),
    ],
)
async def test_what_belongs_to_a_message_or_a_subject_is_found_by_its_key(
    database: Settings, table: str, key: list[str]
) -> None:
    sql = {
        "sqlite": "SELECT name FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk",
        "postgres": "SELECT a.attname AS name FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
        " AND a.attnum = ANY (i.indkey) WHERE i.indrelid = to_regclass($1) AND i.indisprimary"
        " ORDER BY array_position(i.indkey, a.attnum)",
    }[dialect()]
    assert await rows(sql, table) == [{"name": name} for name in key]


_INDEXES = {
    "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgres": "SELECT indexdef AS sql FROM pg_indexes WHERE schemaname = 'public'",
}


def _index_columns(sql: str) -> tuple[str, ...]:
    """Table and columns of a CREATE INDEX."""
    found = re.search(r" ON (?:public\.)?(\w+)(?: USING btree)? \((.*?)\)", sql.replace('"', ""))
    assert found, sql
    return (found[1], *found[2].split(", "))

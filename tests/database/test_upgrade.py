"""Upgrading a populated database, from any revision, loses no row and no index."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from app.database import configuration
from app.database.configuration import is_sqlite
from app.database.connection import close_database, dialect, execute, open_database, rows
from app.database.jobs import JOBS_TABLE
from app.database.key import new_key
from app.database.migrate import MigrationError, migrate, migration_names
from app.settings import Settings

ForeignKeys = Callable[[], Awaitable[dict[tuple[str, str], tuple[str, str]]]]
Catalogue = Callable[[Settings], Awaitable[set[str]]]

ROWS_PER_TABLE = 3
COUNTED_BY_TRIGGERS = "revision"


@pytest.fixture
def migrated(request: pytest.FixtureRequest, empty_settings: Settings) -> Settings:
    """A fresh, migrated database of the same kind."""
    kind = "sqlite" if is_sqlite(empty_settings.database_url) else "postgres"
    return Settings(database_url=request.getfixturevalue(f"{kind}_url"))


@pytest.mark.timeout(300)
async def test_an_upgrade_step_by_step_keeps_every_row_and_index(
    empty_settings: Settings, migrated: Settings, foreign_keys: ForeignKeys, catalogue: Catalogue
) -> None:
    """Every revision adds rows to every table there is, which all the later ones have to keep."""
    upgraded, before = empty_settings, dict[str, int]()
    for number, revision in enumerate(migration_names(configuration.migrations_module())):
        await migrate(upgraded, until=revision)
        after = await _counts(upgraded)
        assert before.items() <= after.items(), revision
        before = await _populate(upgraded, foreign_keys, first=number * ROWS_PER_TABLE)
        assert before == {table: count + ROWS_PER_TABLE for table, count in after.items()}, revision
    await migrate(upgraded)
    assert await catalogue(upgraded) == await catalogue(migrated)


FIRST = """
from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from app.database.key import new_key
from app.database.operations import RunSql

class Migration(migrations.Migration):
    initial = True
    operations = [
        ops.CreateModel(name="Parent", options={"table": "parent", "app": "heliograph", "pk_attr": "id"}, fields=[
            ("id", fields.UUIDField(primary_key=True, default=new_key)),
            ("name", fields.CharField(max_length=64)),
            ("old", fields.CharField(max_length=8)),
        ]),
        ops.CreateModel(name="Child", options={"table": "child", "app": "heliograph", "pk_attr": "id"}, fields=[
            ("id", fields.UUIDField(primary_key=True, default=new_key)),
            ("parent", fields.ForeignKeyField("heliograph.Parent", related_name="children", on_delete="CASCADE")),
            ("note", fields.CharField(max_length=8, null=True)),
        ]),
        RunSql([
            "CREATE UNIQUE INDEX parent_name ON parent (name)",
            "CREATE INDEX parent_old ON parent (old)",
            "CREATE INDEX child_parent ON child (parent_id) WHERE note IS NOT NULL",
        ]),
    ]
"""

SECOND = """
from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from app.database.operations import AlterField, RemoveField, RunSql

class Migration(migrations.Migration):
    dependencies = [("heliograph", "0001_first")]
    operations = [
        AlterField("Parent", "name", fields.CharField(max_length=100)),
        RunSql(["DROP INDEX parent_old"]),
        RemoveField("Parent", "old"),
        ops.AddField("Parent", "kind", fields.CharField(max_length=8, default="a;b", db_default="a;b")),
        AlterField("Child", "note", fields.CharField(max_length=9, null=True)),
        RunSql({
            "sqlite": ["UPDATE child SET note = 'sqlite;'"],
            "postgres": ["UPDATE child SET note = 'postgres;'"],
        }),
    ]
"""

BROKEN = """
from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from app.database.operations import RunSql

class Migration(migrations.Migration):
    dependencies = [("heliograph", "0001_first")]
    operations = [
        ops.CreateModel(name="Other", options={"table": "other", "app": "heliograph", "pk_attr": "id"}, fields=[
            ("id", fields.IntField(primary_key=True)),
        ]),
        RunSql(["INSERT INTO nowhere VALUES (1)"]),
    ]
"""

ORPHANING = """
from tortoise import migrations
from app.database.operations import RunSql

class Migration(migrations.Migration):
    dependencies = [("heliograph", "0001_first")]
    operations = [RunSql(["DELETE FROM parent"])]
"""

Scratch = Callable[[str], str]


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scratch:
    """Puts FIRST and the given second migration into a package, and that into the place of the real migrations."""

    def install(second: str) -> str:
        package = tmp_path / f"migrations_{new_key().hex}"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "0001_first.py").write_text(FIRST)
        (package / "0002_second.py").write_text(second)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(configuration, "migrations_module", lambda: package.name)
        return "0001_first"

    return install


async def test_our_operations_keep_the_rows_of_other_tables_and_the_indexes(
    empty_databases: tuple[Settings, Settings], foreign_keys: ForeignKeys, scratch: Scratch, catalogue: Catalogue
) -> None:
    first = scratch(SECOND)
    upgraded, fresh = empty_databases
    await migrate(upgraded, until=first)
    before = await _populate(upgraded, foreign_keys)
    await migrate(upgraded)
    await migrate(fresh)
    assert await _counts(upgraded) == before == {"parent": ROWS_PER_TABLE, "child": ROWS_PER_TABLE}
    schema = await catalogue(upgraded)
    assert schema == await catalogue(fresh)
    assert {line.split()[2] for line in schema if line.startswith("index")} >= {"parent_name", "child_parent"}
    await open_database(upgraded)
    try:
        assert {row["note"] for row in await rows("SELECT note FROM child")} == {f"{dialect()};"}
        assert {row["kind"] for row in await rows("SELECT kind FROM parent")} == {"a;b"}
        assert await execute("UPDATE parent SET name = $1 WHERE name = 'n0'", "n" * 100) == 1
        with pytest.raises(Exception, match="old"):
            await rows("SELECT old FROM parent")
    finally:
        await close_database()


async def test_a_migration_that_fails_leaves_no_trace(empty_settings: Settings, scratch: Scratch) -> None:
    first = scratch(BROKEN)
    with pytest.raises(Exception, match="nowhere"):
        await migrate(empty_settings)
    await open_database(empty_settings)
    try:
        assert await rows("SELECT name FROM tortoise_migrations") == [{"name": first}]
        with pytest.raises(Exception, match="other"):
            await rows("SELECT id FROM other")
    finally:
        await close_database()


async def test_a_migration_that_leaves_orphans_is_refused(
    empty_settings: Settings, foreign_keys: ForeignKeys, scratch: Scratch
) -> None:
    first = scratch(ORPHANING)
    await migrate(empty_settings, until=first)
    before = await _populate(empty_settings, foreign_keys)
    if empty_settings.database_url.startswith("sqlite"):
        with pytest.raises(MigrationError, match="child"):
            await migrate(empty_settings)
        assert await _counts(empty_settings) == before
    else:
        await migrate(empty_settings)
        assert await _counts(empty_settings) == {"parent": 0, "child": 0}


async def _populate(settings: Settings, foreign_keys: ForeignKeys, first: int = 0) -> dict[str, int]:
    """Add rows to every table, whatever its columns are; returns the number of rows of each. `first`: what they are
    numbered from, which makes them unlike any other."""
    await open_database(settings)
    try:
        references = {place: parent for place, (parent, _) in (await foreign_keys()).items()}
        columns = await _columns()
        keys = {table: [new_key() for _ in range(ROWS_PER_TABLE)] for table in columns}
        waiting = list(columns)
        while waiting:
            table = next(t for t in waiting if not any(p in waiting for (c, _), p in references.items() if c == t))
            waiting.remove(table)
            for number in range(ROWS_PER_TABLE):
                values = {
                    column: _value(kind, column, keys[references.get((table, column), table)][number], first + number)
                    for column, kind in columns[table].items()
                }
                marks = ", ".join(f"${n}" for n in range(1, len(values) + 1))
                await execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values())
    finally:
        await close_database()
    return await _counts(settings)


def _value(kind: str, column: str, key: UUID, number: int) -> object:
    """Something that fits the column: `key` for a key, else a short text that is unique in its column."""
    if kind.lower() in ("uuid", "char(36)"):
        return key
    values = {
        "bool": True,
        "time": datetime(2026, 11, 22, 12, number, tzinfo=UTC),
        "json": '{"a": [1]}',
        "blob": b"\0\xff",
        "bytea": b"\0\xff",
        "int": number,
        "bigint": number,
        "small": 1,
        "double": 1.5,
        "real": 1.5,
    }
    return next((value for start, value in values.items() if kind.lower().startswith(start)), f"{column[0]}{number}")


async def _columns() -> dict[str, dict[str, str]]:
    """Every table of ours: its columns with their types."""
    found = await rows(
        {
            "sqlite": "SELECT m.name AS tab, c.name AS col, c.type AS kind FROM sqlite_master m"
            " JOIN pragma_table_info(m.name) c WHERE m.type = 'table'",
            "postgres": "SELECT table_name AS tab, column_name AS col, data_type AS kind"
            " FROM information_schema.columns WHERE table_schema = 'public'",
        }[dialect()]
    )
    tables: dict[str, dict[str, str]] = {}
    for row in found:
        if row["tab"] not in ("tortoise_migrations", "sqlite_sequence"):
            tables.setdefault(row["tab"], {})[row["col"]] = row["kind"]
    return tables


async def _counts(settings: Settings) -> dict[str, int]:
    await open_database(settings)
    try:
        ours = [
            table for table in await _columns() if not table.startswith(JOBS_TABLE) and table != COUNTED_BY_TRIGGERS
        ]
        return {table: (await rows(f"SELECT count(*) AS n FROM {table}"))[0]["n"] for table in ours}
    finally:
        await close_database()

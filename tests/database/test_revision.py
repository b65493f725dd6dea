"""The revision: which changes count, and what is kept under one."""

from contextlib import suppress
from uuid import UUID

import pytest
from tortoise.models import Model

from app.access.models import ApiKey, Grant, Role
from app.database.connection import close_database, dialect, execute, open_database, rows, transaction
from app.database.revision import Kept, read_revision
from app.domains.models import DkimKey
from app.services.models import Service
from app.settings import Settings
from tests.database.conftest import TakeMigration
from tests.factories import NOW, make_key, make_service

COUNTED: tuple[type[Model], ...] = (ApiKey, Grant, Role, Service, DkimKey)
NOT_COUNTED = {
    ("api_key", "last_used_at"),
    ("api_key", "previous_last_used_at"),
    ("service", "announced_size"),
}


async def make_all() -> None:
    await make_service()
    await make_key()
    await DkimKey.create(
        domain="example.com",
        selector="s1",
        algorithm="RSA",
        state="ACTIVE",
        sealed_private_key="sealed",
        public_key="public",
        created_at=NOW,
    )


async def test_each_change_counts_but_those_that_mail_makes(database: Settings) -> None:
    assert await read_revision() == 0
    await make_all()
    counted, at = set[tuple[str, str]](), await read_revision()
    assert at == len(COUNTED)
    columns = {(model._meta.db_table, column) for model in COUNTED for column in model._meta.db_fields}
    for table, column in sorted(columns):
        assert await execute(f"UPDATE {table} SET {column} = {column}") == 1
        if (number := await read_revision()) != at:
            counted.add((table, column))
            at = number
    assert columns - counted == NOT_COUNTED, "the triggers have to be made anew, with this column"


@pytest.mark.parametrize("model", COUNTED, ids=lambda model: model.__name__)
async def test_a_row_that_is_deleted_counts_and_one_that_stays_does_not(database: Settings, model: type[Model]) -> None:
    await make_all()
    at = await read_revision()
    with suppress(ZeroDivisionError):
        async with transaction():
            await execute(f"DELETE FROM {model._meta.db_table}")
            raise ZeroDivisionError
    assert await read_revision() == at
    assert await execute(f"DELETE FROM {model._meta.db_table}") == 1
    assert await read_revision() > at


async def test_what_cascades_counts(database: Settings) -> None:
    await make_all()
    at = await read_revision()
    await execute("DELETE FROM role")
    assert await read_revision() == at + 3  # the role, its key and its grant


async def test_on_postgresql_who_has_changed_something_makes_nobody_wait(postgres_url: str) -> None:
    import asyncpg

    one, two = [await asyncpg.connect(postgres_url) for _ in range(2)]
    try:
        await one.execute("SET lock_timeout = '5s'")
        await two.execute("SET lock_timeout = '5s'")
        role = "INSERT INTO role (id, name, is_active, created_at, updated_at) VALUES ($1, $2, true, $3, $3)"
        async with one.transaction():
            await one.execute(role, UUID(int=1), "one", NOW)
            await two.execute(role, UUID(int=2), "two", NOW)
            assert await two.fetchval("SELECT number FROM revision") == 1
        assert await two.fetchval("SELECT number FROM revision") == 2
    finally:
        await one.close()
        await two.close()


async def test_the_migration_can_be_undone_and_done_again(settings: Settings, take_migration: TakeMigration) -> None:
    await take_migration("unapply", "0016_revision", settings)
    await open_database(settings)
    try:
        assert not await rows(_LEFT[dialect()])
        await make_service()
    finally:
        await close_database()
    await take_migration("apply", "0016_revision", settings)
    await open_database(settings)
    try:
        await make_key()
        assert await read_revision() == 3
    finally:
        await close_database()


_LEFT = {
    "sqlite": "SELECT name FROM sqlite_master WHERE name = 'revision' OR sql LIKE '%INTO revision%'",
    "postgres": "SELECT relname FROM pg_class WHERE relname = 'revision'"
    " UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE '%revision%'"
    " UNION ALL SELECT proname FROM pg_proc WHERE proname = 'count_revision'",
}


def test_values_of_another_revision_are_not_kept() -> None:
    kept = Kept[str, str](most=2)
    kept.keep("a", "1", 4)
    assert (kept.get("a"), kept.get("a", 4), kept.get("a", 5), kept.get("b")) == ("1", "1", None, None)
    for number in (5, 3):  # a smaller one: another database was put in its place
        kept.keep("b", "2", number)
        assert (kept.get("a"), kept.get("b", number), kept.get("b", 4)) == (None, "2", None)
    kept.forget()
    assert kept.get("b") is None


def test_who_was_not_asked_for_longest_makes_room() -> None:
    kept = Kept[str, str](most=2)
    for key in ("a", "b"):
        kept.keep(key, key, 1)
    assert kept.get("a")
    kept.keep("c", "c", 1)
    assert [kept.get(key) for key in "abc"] == ["a", None, "c"]
    none = Kept[str, str](most=0)
    none.keep("a", "a", 1)
    assert none.get("a") is None


def test_what_is_kept_anew_is_what_is_found() -> None:
    kept, key, other = Kept[UUID, str](2), UUID(int=1), UUID(int=2)
    kept.keep(key, "old", 1)
    assert [kept.get(key, 1), kept.get(key, 1), kept.get(other, 1)] == ["old", "old", None]
    kept.keep(key, "new", 1)
    assert [kept.get(key, 1), kept.get(key, 2)] == ["new", None]
    kept.keep(other, "other", 2)
    assert [kept.get(key, 2), kept.get(other, 2)] == [None, "other"]
    kept.forget()
    assert kept.get(other, 2) is None


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    kept, keys = Kept[UUID, int](2), [UUID(int=number) for number in range(3)]
    kept.keep(keys[0], 0, 1)
    kept.keep(keys[1], 1, 1)
    assert [kept.get(keys[0]), kept.get(keys[0])] == [0, 0]
    kept.keep(keys[2], 2, 1)
    assert [kept.get(key) for key in keys] == [0, None, 2]

"""What was used of limits outlives the upgrade that keeps it in the order of its buckets, and the undoing of that."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from app.database.connection import close_database, insert, open_database, rows
from app.database.key import new_key
from app.limits.counter import Taken, count_rows
from app.limits.sums import read_sums
from app.limits.window import Span
from app.settings import Settings
from tests.database.conftest import TakeMigration
from tests.factories import after

Catalogue = Callable[[Settings], Awaitable[set[str]]]

MIGRATION = "0020_counter_by_bucket"
T = TypeVar("T")
SUBJECTS = [new_key() for _ in range(3)]


async def test_what_is_counted_outlives_the_migration_both_ways(
    settings: Settings, take_migration: TakeMigration, catalogue: Catalogue
) -> None:
    schema = _without_columns(await catalogue(settings))
    counted = await _within(settings, _count_twice)
    assert len(counted) == len(SUBJECTS) * (20 + 2 + 1)
    assert {row["used"] for row in counted} == {2, 20, 40}

    await take_migration("unapply", MIGRATION, settings)
    assert await _within(settings, _counted) == counted
    ids = await _within(settings, lambda: rows("SELECT CAST(id AS TEXT) AS id FROM counter"))
    assert {len(row["id"]) for row in ids} == {36}
    assert len({row["id"] for row in ids}) == len(counted)

    await take_migration("apply", MIGRATION, settings)
    assert await _within(settings, _counted) == counted
    assert _without_columns(await catalogue(settings)) == schema
    await _within(settings, _count_twice)
    sums = await _within(settings, lambda: read_sums([str(subject) for subject in SUBJECTS], after(100)))
    assert list(sums.used.values()) == [(80,) * len(Span)] * len(SUBJECTS)
    assert not sums.latest


async def _count_twice() -> list[dict[str, Any]]:
    """In 20 buckets of a minute, in 2 of an hour, and in 1 of a day."""
    takes = [Taken(subject, tuple(Span), after(50 + second), 1) for subject in SUBJECTS for second in range(20)]
    for _ in range(2):
        await insert(count_rows(takes))
    return await _counted()


async def _counted() -> list[dict[str, Any]]:
    return await rows("SELECT subject, span, starts_at, used FROM counter ORDER BY subject, span, starts_at")


def _without_columns(schema: set[str]) -> set[str]:
    """PostgreSQL gives a column that is added anew another place."""
    return {line for line in schema if not line.startswith("column")}


async def _within(settings: Settings, work: Callable[[], Awaitable[T]]) -> T:
    """What the work returns, with the database open."""
    await open_database(settings)
    try:
        return await work()
    finally:
        await close_database()

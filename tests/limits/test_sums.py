"""Sums that are kept for a second are those of the database, whoever writes meanwhile."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.database.configuration import sqlite_path
from app.database.connection import close_database, dialect, execute, in_transaction, insert, open_database, rows
from app.database.key import new_key
from app.database.values import moment_text
from app.limits import sums
from app.limits.counter import (
    Taken,
    count_rows,
    forget_old_counts,
    forget_the_future,
    give_back,
    lock_subjects,
    read_buckets,
)
from app.limits.sums import read_sums
from app.limits.window import Span, bucket_of, used_at
from app.settings import Settings
from tests.factories import after

STEPS = (0.0, 0.0, 0.0, 0.25, 0.25, 1.0, 30.0, 61.0, 900.0, 3700.0, 50_000.0, -2.0, -0.5)


async def taken(subject: UUID, count: int, moment: datetime, *, fails: bool = False) -> None:
    """In a unit of work, with a look before and after it."""

    async def work() -> None:
        await lock_subjects([str(subject)])
        await read_sums([str(subject)], moment)
        await insert(count_rows([Taken(subject, tuple(Span), moment, count)]))
        if fails:
            raise LookupError

    with suppress(LookupError):
        await in_transaction(work)


async def summed(subjects: Sequence[UUID], moment: datetime) -> dict[str, Sequence[int]]:
    found = await in_transaction(lambda: read_sums([str(subject) for subject in subjects], moment))
    return {subject: tuple(used) for subject, used in found.used.items()}


async def counted(subjects: Sequence[UUID], moment: datetime) -> dict[str, Sequence[int]]:
    """The same, added up here."""
    buckets = await read_buckets(subjects, moment)
    return {str(key): tuple(used_at(buckets[key][span], moment, span) for span in Span) for key in subjects}


def write_elsewhere(settings: Settings, subject: UUID, moment: datetime) -> None:
    """Another connection counts one."""
    with closing(sqlite3.connect(sqlite_path(settings.database_url))) as other, other:
        other.executemany(
            "INSERT INTO counter (subject, span, starts_at, used) VALUES (?, ?, ?, 1)"
            " ON CONFLICT (subject, span, starts_at) DO UPDATE SET used = counter.used + 1",
            [(str(subject), span.value, moment_text(bucket_of(moment, span))) for span in Span],
        )


@pytest.mark.parametrize("seed", range(3))
async def test_they_are_what_the_buckets_add_up_to(database: Settings, seed: int) -> None:
    chance, seconds = random.Random(seed), 100_000.0
    subjects = [new_key() for _ in range(3)]
    last: Taken | None = None
    for _ in range(60):
        seconds += chance.choice(STEPS)
        moment, subject, count = after(seconds), chance.choice(subjects), chance.randint(1, 5)
        match chance.randrange(9):
            case 0:
                await taken(subject, count, moment, fails=True)
            case 1 if dialect() == "sqlite":
                write_elsewhere(database, subject, after(seconds - chance.choice([0, 1, 65, 5000, -90])))
            case 2 if last is not None:
                await give_back(last, 1)
                last = None
            case 3:
                await forget_old_counts(moment)
            case 4:
                await forget_the_future(moment)
            case 5:
                await taken(subject, count, after(seconds - 1))  # it was late to have its turn
            case _:
                await taken(subject, count, moment)
                last = Taken(subject, tuple(Span), moment, count)
        some = chance.sample(subjects, chance.randint(1, 3))
        assert await summed(some, moment) == await counted(some, moment)


async def test_what_is_over_is_added_up_once_a_second(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    added_up = 0

    async def seen(sql: str, *args: Any) -> list[dict[str, Any]]:
        nonlocal added_up
        added_up += "SUM(" in sql
        return await rows(sql, *args)

    monkeypatch.setattr(sums, "rows", seen)
    subject = new_key()
    for tenth in range(20):
        await taken(subject, 1, after(tenth / 10))
    assert await summed([subject], after(1.95)) == {str(subject): (20, 20, 20)}
    assert added_up == (2 if dialect() == "sqlite" else 21)


async def test_what_others_write_counts_at_once(sqlite_database: Settings) -> None:
    subject = new_key()
    for second in (1, 0, 1):
        before = await summed([subject], after(1.5))
        write_elsewhere(sqlite_database, subject, after(second))
        assert await summed([subject], after(1.5)) == {str(subject): tuple(n + 1 for n in before[str(subject)])}


async def test_the_future_that_is_forgotten_counts_no_more(sqlite_database: Settings) -> None:
    subject = new_key()
    write_elsewhere(sqlite_database, subject, after(5000))
    assert await summed([subject], after(0)) == {str(subject): (1, 1, 1)}
    await forget_the_future(after(0))
    assert await summed([subject], after(0)) == {str(subject): (0, 0, 0)}


@pytest.mark.parametrize("written", [True, False])
async def test_what_is_undone_with_its_group_is_not_kept(sqlite_database: Settings, written: bool) -> None:
    """What another unit of the group has seen: what was taken, or given back, and never was."""
    subject, minute = new_key(), after(0)
    before = Taken(subject, tuple(Span), after(-70 if written else -0.1), 5)

    async def take() -> None:
        await insert(count_rows([before]))

    async def look() -> Sequence[int]:
        return (await read_sums([str(subject)], minute)).used[str(subject)]

    async def full_disk() -> None:
        await execute("ROLLBACK")  # as SQLite does by itself
        raise OSError

    if written:
        await in_transaction(take)
    change = partial(give_back, before, 5) if written else take
    group: list[Callable[[], Coroutine[Any, Any, object]]] = [change, look, full_disk]
    outcomes = await asyncio.gather(*map(in_transaction, group), return_exceptions=True)
    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    assert await in_transaction(look) == ((0, 5, 5) if written else (0, 0, 0))


async def test_another_database_has_sums_of_its_own(sqlite_database: Settings, sqlite_template: Path) -> None:
    subject = new_key()
    await taken(subject, 5, after(0))
    assert await summed([subject], after(1)) == {str(subject): (5, 5, 5)}
    await close_database()
    path = Path(sqlite_path(sqlite_database.database_url))
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    shutil.copyfile(sqlite_template, path)
    await open_database(sqlite_database)
    assert await summed([subject], after(1)) == {str(subject): (0, 0, 0)}

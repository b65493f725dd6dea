"""Takes are exact, however many ask at once."""

import asyncio
from uuid import UUID

import pytest

from app.database.connection import as_key, as_moment, execute, rows, transaction
from app.database.key import new_key
from app.limits.counter import (
    Taken,
    forget_old_counts,
    forget_the_future,
    give_back,
    lock_subject,
    lock_subjects,
    read_buckets,
    read_last_turns,
    set_pace,
    take,
)
from app.limits.window import BUCKETS, LENGTHS, Limits, Span, used_at
from app.settings import Settings
from tests.factories import NOW, after, count

M, H, D = Span.MINUTE, Span.HOUR, Span.DAY


@pytest.fixture
def subject(database: Settings) -> UUID:
    return new_key()


async def taken(subject: UUID, limits: Limits, wanted: int, seconds: float = 0) -> Taken:
    async with transaction():
        await lock_subject(subject)
        return (await take(subject, limits, wanted, after(seconds)))[0]


async def used(subject: UUID, span: Span, seconds: float = 0) -> int:
    buckets = (await read_buckets([subject], after(seconds)))[subject]
    return used_at(buckets[span], after(seconds), span)


async def test_fifty_who_take_at_once_get_exactly_the_limit(subject: UUID) -> None:
    takes = await asyncio.gather(*(taken(subject, {M: 70, H: 100}, 3) for _ in range(50)))

    assert sum(one.count for one in takes) == 70
    assert sorted({one.count for one in takes}) == [0, 1, 3]
    assert (await used(subject, M), await used(subject, H)) == (70, 70)


async def test_the_tightest_window_decides(subject: UUID) -> None:
    assert (await taken(subject, {M: 10, H: 15, D: 100}, 25)).count == 10
    assert (await taken(subject, {M: 10, H: 15, D: 100}, 25, 61)).count == 5
    assert (await taken(subject, {M: 10, H: 15, D: 100}, 25, 122)).count == 0
    assert (await taken(subject, {D: 100}, 125, 122)).count == 85


async def test_it_says_when_more_is_free(subject: UUID) -> None:
    async def free(limits: Limits, wanted: int, seconds: float) -> float:
        async with transaction():
            await lock_subject(subject)
            return ((await take(subject, limits, wanted, after(seconds)))[1] - NOW).total_seconds()

    assert await free({M: 10, H: 15}, 9, 0.5) == 0.5
    assert await free({M: 10, H: 15}, 1, 2.5) == 61
    assert await free({M: 10, H: 15}, 5, 61) == 3660
    assert await free({M: 10}, 0, 62) == 62


async def test_subjects_do_not_share(subject: UUID) -> None:
    other = new_key()
    await taken(subject, {M: 5}, 5)
    assert (await taken(other, {M: 5}, 5)).count == 5
    assert await used(subject, M) == 5


async def test_what_is_given_back_can_be_taken_again(subject: UUID) -> None:
    first = await taken(subject, {M: 10, D: 10}, 7)
    await taken(subject, {M: 10, D: 10}, 3, 5)
    async with transaction():
        await set_pace(subject, None, after(61))
        await give_back(first, 4)

    assert (await used(subject, M, 5), await used(subject, D, 5)) == (6, 6)
    assert await rows("SELECT free_at FROM pace WHERE subject = $1", subject) == [{"free_at": None}]
    assert (await taken(subject, {M: 10, D: 10}, 9, 6)).count == 4


async def test_what_is_given_back_after_its_time_changes_nothing(subject: UUID) -> None:
    late = await taken(subject, {M: 10}, 7)
    await forget_old_counts(after(3600))
    async with transaction():
        await give_back(late, 7)
    assert await used(subject, M, 3600) == 0
    assert await count("counter") == 0


async def test_a_transaction_that_fails_takes_nothing(subject: UUID) -> None:
    async def fail() -> None:
        async with transaction():
            await taken(subject, {M: 10}, 7)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await used(subject, M) == 0


async def test_of_a_limit_that_is_set_later_nothing_is_used_yet(subject: UUID) -> None:
    before = await taken(subject, {M: 10}, 7)
    await taken(subject, {M: 10, H: 10}, 2)
    async with transaction():
        await give_back(before, 7)
    assert (await used(subject, M), await used(subject, H)) == (2, 2)


async def test_counts_are_forgotten_when_they_count_no_more_and_not_before(subject: UUID) -> None:
    await taken(subject, {M: 10, H: 10, D: 10}, 1)
    for span in Span:
        over = NOW + BUCKETS[span] + LENGTHS[span]
        await forget_old_counts(over - BUCKETS[span] / 1000)
        assert {row["span"] for row in await rows("SELECT span FROM counter")} >= {span.value}
        await forget_old_counts(over)
        assert span.value not in {row["span"] for row in await rows("SELECT span FROM counter")}


async def test_a_subject_is_forgotten_a_day_after_its_last_turn(subject: UUID) -> None:
    async with transaction():
        assert await lock_subject(subject) is None
        await set_pace(subject, NOW, None)
    assert await read_last_turns([subject, new_key()]) == {subject: NOW}
    await forget_old_counts(after(24 * 3600 - 1))
    assert await count("pace") == 1
    await forget_old_counts(after(24 * 3600))
    assert await count("pace") == 0


async def test_what_a_clock_far_ahead_wrote_down_is_forgotten(subject: UUID) -> None:
    other = new_key()
    for key, moment in ((subject, after(365 * 24 * 3600)), (other, after(60))):
        async with transaction():
            await lock_subject(key)
            await take(key, {M: 10}, 7, moment)
            await set_pace(key, moment, moment)
    await forget_the_future(NOW)

    assert await count("counter") == 1
    kept = {as_key(row["subject"]): as_moment(row["free_at"]) for row in await rows("SELECT * FROM pace")}
    assert kept == {subject: None, other: after(60)}
    assert await read_last_turns([subject, other]) == {other: after(60)}


async def test_who_takes_waits_for_the_one_before(subject: UUID) -> None:
    """Two transactions that read first would both find room."""
    await execute("INSERT INTO pace (subject) VALUES ($1)", subject)
    both = await asyncio.gather(taken(subject, {M: 1}, 1), taken(subject, {M: 1}, 1))
    assert sorted(one.count for one in both) == [0, 1]


async def test_who_locks_several_waits_for_each_of_them(subject: UUID) -> None:
    """Whether their rows are there already, or not."""
    for _ in range(2):
        steps: list[str] = []
        locked = asyncio.Event()

        async def first(steps: list[str], locked: asyncio.Event) -> None:
            async with transaction():
                await lock_subjects([str(subject)])
                locked.set()
                await asyncio.sleep(0.1)
                steps.append("first")

        async def second(steps: list[str], locked: asyncio.Event) -> None:
            await locked.wait()
            async with transaction():
                await lock_subjects([str(subject), str(new_key())])
                steps.append("second")

        await asyncio.gather(first(steps, locked), second(steps, locked))
        assert steps == ["first", "second"]

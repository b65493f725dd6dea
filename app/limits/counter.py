"""Take n of what is limited, atomically, over all processes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from app.database.connection import Dialect, as_key, as_moment, dialect, execute, execute_many, insert, rows
from app.database.insert import Insert, Rows
from app.limits.bounds import SPANS, bounds_of, second_of
from app.limits.sums import forget_sums
from app.limits.window import BUCKETS, LENGTHS, Buckets, Limits, Span, bucket_of, counts_after, free_at, used_at


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken: `count` of the `subject` at `moment`, counted in each of `spans`."""

    subject: UUID | str
    spans: tuple[Span, ...]
    moment: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Window:
    """What has to have room: of the `subject`, no more than `room` in buckets that start after `after`."""

    subject: str
    span: Span
    after: datetime
    room: int


async def take(subject: UUID, limits: Limits, wanted: int, moment: datetime) -> tuple[Taken, datetime]:
    """Take `wanted`, or as many as every window has room for, down to 0; and when one more is free after that.

    Call it inside a transaction that holds `lock_subject`.
    """
    counted = (await read_buckets([subject], moment))[subject] if limits else {}
    rooms = (limit - used_at(counted[span], moment, span) for span, limit in limits.items())
    taken = Taken(subject, tuple(limits), moment, max(0, min([wanted, *rooms])))
    if taken.count:
        await insert(count_rows([taken]))
    free = (free_at(_with(counted[span], span, taken), moment, span, limit) for span, limit in limits.items())
    return taken, max(free, default=moment)


async def give_back(taken: Taken, count: int) -> None:
    """Uncount `count` of what was taken, because they were not used after all; the next one to take finds them free.

    Call it inside a transaction, as the last that locks anything.
    """
    if count and taken.spans:
        await lock_subject(taken.subject)
        await execute_many(
            "UPDATE counter SET used = used - $4 WHERE subject = $1 AND span = $2 AND starts_at = $3",
            [(taken.subject, span.value, bucket_of(taken.moment, span), count) for span in taken.spans],
        )
        forget_sums()
        await forget_free_at(taken.subject)


async def lock_subject(subject: UUID | str) -> datetime | None:
    """Let all others who take for the subject wait until the transaction ends; returns the last turn it was given."""
    locked = await rows(
        "INSERT INTO pace (subject) VALUES ($1) ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject"
        " RETURNING last_turn_at",
        subject,
    )
    last_turn_at: datetime | str | None = locked[0]["last_turn_at"]
    return as_moment(last_turn_at)


async def lock_subjects(subjects: Collection[str]) -> None:
    """The same for several, always in one order, so that those who share some of them never wait for each other.

    A transaction of SQLite has everything locked from its beginning.
    """
    if dialect() == "sqlite":
        return
    places = ", ".join(f"(${number})" for number in range(1, len(set(subjects)) + 1))
    # Whatever its WHERE says, PostgreSQL locks the row that is in conflict; so none is written anew.
    await execute(
        f"INSERT INTO pace (subject) VALUES {places}"  # noqa: S608 - numbers
        " ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject WHERE FALSE",
        *sorted(set(subjects)),
    )


def count_rows(takes: Sequence[Taken]) -> tuple[Insert, Rows]:
    """What is to be inserted so that it is counted. The lock is held, and whether there is room was looked at."""
    counts: dict[_Bucket, int] = {}
    kind = dialect()
    for taken in takes:
        for bucket in _buckets_of(str(taken.subject), taken.spans, second_of(taken.moment), kind):
            counts[bucket] = counts.get(bucket, 0) + taken.count
    return _COUNT, [(*bucket, count) for bucket, count in counts.items()]


_Bucket = tuple[str, str, datetime | str]


@lru_cache(maxsize=1000)
def _buckets_of(subject: str, spans: tuple[Span, ...], second: float, kind: Dialect) -> tuple[_Bucket, ...]:
    """What is taken in this second counts in them."""
    starts = zip(SPANS, bounds_of(second, kind).starts, strict=True)
    return tuple([(subject, span.value, start) for span, start in starts if span in spans])


_COUNT = Insert(
    "counter",
    {"subject": "uuid", "span": "text", "starts_at": "timestamptz", "used": "integer"},
    "ON CONFLICT (subject, span, starts_at) DO UPDATE SET used = counter.used + excluded.used",
)


async def set_pace(subject: UUID, last_turn_at: datetime | None, free_at: datetime | None) -> None:
    """Write down the last turn given, and until when nothing more is free; None: something is. The lock is held."""
    await execute(
        "UPDATE pace SET last_turn_at = $2, free_at = $3 WHERE subject = $1",
        subject,
        last_turn_at,
        free_at,
    )


async def forget_free_at(subject: UUID | str) -> None:
    """Let the next one to take find out what is free: the limits were changed, or something was given back."""
    await execute("UPDATE pace SET free_at = NULL WHERE subject = $1", subject)


async def read_buckets(subjects: Sequence[UUID], moment: datetime) -> dict[UUID, dict[Span, Buckets]]:
    """What counts at `moment` of each subject and span."""
    buckets: dict[UUID, dict[Span, dict[datetime, int]]]
    buckets = {subject: {span: {} for span in Span} for subject in subjects}
    places = ", ".join(f"${len(Span) + number}" for number in range(1, len(subjects) + 1))
    found = await rows(
        f"SELECT subject, span, starts_at, used FROM counter WHERE subject IN ({places}) AND ({_COUNTS})",  # noqa: S608
        *(counts_after(moment, span) for span in Span),
        *subjects,
    )
    for row in found:
        buckets[as_key(row["subject"])][Span(row["span"])][as_moment(row["starts_at"])] = row["used"]
    return {subject: dict(of_span) for subject, of_span in buckets.items()}


_COUNTS = " OR ".join(f"(span = '{span.value}' AND starts_at > ${n})" for n, span in enumerate(Span, start=1))


async def read_last_turns(subjects: Sequence[UUID]) -> dict[UUID, datetime]:
    """The last turn given to each subject that was given one."""
    places = ", ".join(f"${number}" for number in range(1, len(subjects) + 1))
    found = await rows(
        f"SELECT subject, last_turn_at FROM pace WHERE subject IN ({places}) AND last_turn_at IS NOT NULL",  # noqa: S608
        *subjects,
    )
    return {as_key(row["subject"]): as_moment(row["last_turn_at"]) for row in found}


async def forget_old_counts(moment: datetime) -> None:
    """Delete what counts no more, and what is known of subjects that have not taken anything for a day."""
    for span in Span:
        await execute(
            "DELETE FROM counter WHERE span = $1 AND starts_at <= $2",
            span.value,
            counts_after(moment, span),
        )
    forget_sums()
    # A row that somebody holds is left alone: who waits for it here, with others deleted, could be waited for.
    unlocked = " FOR UPDATE SKIP LOCKED" if dialect() == "postgres" else ""
    await execute(
        "DELETE FROM pace WHERE subject IN (SELECT subject FROM pace"  # noqa: S608 - a constant
        " WHERE COALESCE(last_turn_at, $1) <= $1 AND COALESCE(free_at, $1) <= $1"
        f" AND NOT EXISTS (SELECT 1 FROM counter WHERE counter.subject = pace.subject){unlocked})",
        moment - LENGTHS[Span.DAY],
    )


async def forget_the_future(moment: datetime) -> None:
    """Delete what a clock wrote down that was far ahead for a while: nothing would be free until that time comes."""
    await execute("DELETE FROM counter WHERE starts_at > $1", moment + _SKEW)
    forget_sums()
    await execute(
        "UPDATE pace SET last_turn_at = NULL, free_at = NULL WHERE last_turn_at > $1 OR free_at > $2",
        moment + _SKEW,
        moment + LENGTHS[Span.DAY] + BUCKETS[Span.DAY] + _SKEW,
    )


_SKEW = timedelta(minutes=10)


def _with(buckets: Buckets, span: Span, taken: Taken) -> Buckets:
    bucket = bucket_of(taken.moment, span)
    return {**buckets, bucket: buckets.get(bucket, 0) + taken.count}

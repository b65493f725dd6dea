"""How much of many subjects counts.

Nothing is taken any more in a bucket that is over. So what the buckets beside that of now hold is summed once for each
second, and kept as long as nobody but the connection that takes has written to the database: SQLite can tell. After a
day a subject has more than two hundred of them.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from app.database.connection import data_version, dialect, rows
from app.limits.bounds import SPANS, Bounds, bounds_of, second_of

T = TypeVar("T")


@dataclass(slots=True)
class Sums:
    """Of each subject, in the order of Span: how much counts; and where a clock is ahead, or was, the last bucket
    beside that of now, as the database has it, None: there is none. `latest` may hold other subjects as well."""

    used: Mapping[str, Sequence[int]]
    latest: Mapping[str, Sequence[datetime | str | None]]


async def read_sums(subjects: Sequence[str], moment: datetime) -> Sums:
    """What counts at `moment` of each subject. Call it inside the transaction that takes of them, before it does, with
    the moment at which it will."""
    second = second_of(moment)
    bounds, others = bounds_of(second, dialect()), await _others_of(second)
    used: dict[str, Sequence[int]] = {}
    for begin in range(0, len(subjects), _MOST_SUBJECTS):
        some = subjects[begin : begin + _MOST_SUBJECTS]
        await others.read([subject for subject in some if subject not in others.used], bounds)
        (found,) = await rows(_current(len(some)), *bounds.starts, *some)
        for subject, current in _by_subject(some, list(found.values())).items():
            used[subject] = tuple([sum_ + (now or 0) for sum_, now in zip(others.used[subject], current, strict=True)])
    return Sums(used, others.latest)


def forget_sums() -> None:
    """To be called by who changes, in this process, a bucket that is not that of now."""
    global _kept
    _kept = None


@dataclass(slots=True)
class _Others:
    """What is in the buckets that count in this second, but for those of now; `seen`: at this state of the database."""

    second: float
    seen: Hashable
    used: dict[str, Sequence[int]] = field(default_factory=dict)
    latest: dict[str, Sequence[datetime | str | None]] = field(default_factory=dict)

    async def read(self, subjects: Sequence[str], bounds: Bounds) -> None:
        if not subjects:
            return
        (found,) = await rows(_beside_current(len(subjects)), *bounds.after, *bounds.starts, *subjects)
        is_ahead, *sums = found.values()
        if is_ahead:
            (found,) = await rows(_latest(len(subjects)), *bounds.after, *subjects)
            self.latest |= _by_subject(subjects, list(found.values()))
        self.used |= _by_subject(subjects, [sum_ or 0 for sum_ in sums])


_kept: _Others | None = None


async def _others_of(second: float) -> _Others:
    """Where nothing tells who has written (PostgreSQL), they are read each time."""
    global _kept
    seen = await data_version()
    if _kept is None or seen is None or (_kept.second, _kept.seen) != (second, seen):
        _kept = _Others(second, seen)
    return _kept


def _by_subject(subjects: Sequence[str], values: Sequence[T]) -> dict[str, Sequence[T]]:
    """Of each as many as there are spans."""
    of_each = zip(*[iter(values)] * len(SPANS), strict=True)
    return dict(zip(subjects, of_each, strict=True))


_MOST_SUBJECTS = 16


@lru_cache(maxsize=_MOST_SUBJECTS)
def _current(count: int) -> str:
    """What is in the buckets of now, of so many subjects."""
    return f"SELECT {_of_each('used', lambda number: f'= ${number}', len(SPANS), count)}"


@lru_cache(maxsize=_MOST_SUBJECTS)
def _beside_current(count: int) -> str:
    """What is in the others that count, of so many subjects; and whether anybody has a bucket that is later than that
    of now. Each span of each by itself: of buckets that count no more, SQLite then reads none, and it has nothing to
    group."""
    ahead = " OR ".join(
        f"EXISTS (SELECT 1 FROM counter WHERE span = '{span.value}' AND starts_at > ${number})"  # noqa: S608
        for number, span in enumerate(SPANS, start=len(SPANS) + 1)
    )
    others = _of_each(
        "SUM(used)", lambda number: f"> ${number} AND starts_at <> ${number + len(SPANS)}", 2 * len(SPANS), count
    )
    return f"SELECT {ahead} AS is_ahead, {others}"


@lru_cache(maxsize=_MOST_SUBJECTS)
def _latest(count: int) -> str:
    """The last bucket of each: only a clock that is ahead, or was, makes it another one than that of now."""
    return f"SELECT {_of_each('MAX(starts_at)', lambda number: f'> ${number}', len(SPANS), count)}"


def _of_each(value: str, starts_at: Callable[[int], str], moments: int, count: int) -> str:
    """Of each span of so many subjects, whose arguments are behind so many moments; `starts_at` says which buckets of
    the span with this number, from 1."""
    return ", ".join(
        f"(SELECT {value} FROM counter"  # noqa: S608
        f" WHERE subject = ${moments + place} AND span = '{span.value}' AND starts_at {starts_at(number)})"
        f" AS of_{place}_{number}"
        for place in range(1, count + 1)
        for number, span in enumerate(SPANS, start=1)
    )

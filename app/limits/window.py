"""Arithmetic of sliding windows: so many in any minute, hour or day. Pure.

What was taken is counted in buckets, each a sixtieth of a minute or an hour, or a ninety-sixth of a day. A bucket
counts until all of it is older than the window. So no window of that length, wherever it begins, ever holds more than
the limit; and what was taken is free again at most one bucket later than it could be.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache


class Span(StrEnum):
    """The length of a window."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    __hash__ = str.__hash__  # an Enum's own is in Python, and takes several times as long


LENGTHS: Mapping[Span, timedelta] = {
    Span.MINUTE: timedelta(minutes=1),
    Span.HOUR: timedelta(hours=1),
    Span.DAY: timedelta(days=1),
}
BUCKETS: Mapping[Span, timedelta] = {
    Span.MINUTE: timedelta(seconds=1),
    Span.HOUR: timedelta(minutes=1),
    Span.DAY: timedelta(minutes=15),
}
_BUCKET_SECONDS = {span: length.total_seconds() for span, length in BUCKETS.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Buckets = Mapping[datetime, int]
"""How many were taken in each bucket, by the moment at which it starts."""

Limits = Mapping[Span, int]
"""How many in any window of the span, above 0; a span that is not named has no limit."""


def bucket_of(moment: datetime, span: Span) -> datetime:
    """The start of the bucket that `moment` is in."""
    return _bucket(int(moment.timestamp() // _BUCKET_SECONDS[span]), span)


@lru_cache(maxsize=100)
def _bucket(number: int, span: Span) -> datetime:
    return _EPOCH + number * BUCKETS[span]


def counts_after(moment: datetime, span: Span) -> datetime:
    """Buckets that start after this count at `moment`; the others are over."""
    return moment - BUCKETS[span] - LENGTHS[span]


def used_at(buckets: Buckets, moment: datetime, span: Span) -> int:
    """How many count at `moment`; those of a clock that is ahead do, too."""
    return sum(used for starts_at, used in buckets.items() if starts_at > counts_after(moment, span))


def free_at(buckets: Buckets, moment: datetime, span: Span, limit: int, wanted: int = 1) -> datetime:
    """The first moment, from `moment` on, at which there is room for `wanted` more, if none is taken before.

    `wanted` is from 1 to `limit`; all of it is the moment at which nothing counts any more.
    """
    used = used_at(buckets, moment, span)
    free = moment
    for starts_at, taken in sorted(buckets.items()):
        if used + wanted <= limit:
            break
        over_at = starts_at + BUCKETS[span] + LENGTHS[span]
        if over_at > moment:
            used -= taken
            free = over_at
    return free

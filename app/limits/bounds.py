"""Where the buckets begin and end for all moments of one second, as the open database has them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from app.database.connection import Dialect, stored_moment
from app.limits.window import Span, bucket_of, counts_after

SPANS = tuple(Span)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What all moments of a second have in common, no bucket being shorter, in the order of Span: where the bucket
    starts that they are in, and after what those start that count."""

    starts: tuple[datetime | str, ...]
    after: tuple[datetime | str, ...]


def second_of(moment: datetime) -> float:
    """The second that it is in, since 1970."""
    return moment.timestamp() // 1


@lru_cache(maxsize=10)
def bounds_of(second: float, _: Dialect) -> Bounds:
    """As the open database, which is of that kind, has them: one after the other may be open."""
    starts = {span: bucket_of(datetime.fromtimestamp(second, UTC), span) for span in SPANS}
    # No bucket begins between this and the one that `counts_after` says.
    after = [counts_after(start, span) for span, start in starts.items()]
    return Bounds(tuple(map(stored_moment, starts.values())), tuple(map(stored_moment, after)))

"""The only place that reads time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from msgspec import Struct

now: Callable[[], datetime] = partial(datetime.now, UTC)
"""The current instant, timezone-aware, in UTC."""

monotonic: Callable[[], float] = time.monotonic
"""Seconds from some point on; never set, and standing still while the machine sleeps."""


def milliseconds() -> int:
    """Of the current instant: whole ones since the beginning of 1970 in UTC."""
    return time.time_ns() // 1_000_000


class Instant(Struct, frozen=True):
    """One instant by two clocks, neither of which tells the whole truth about the time between two of them: the wall
    clock (UTC) can be set, and the monotonic one (seconds) stands still while the machine sleeps."""

    wall: datetime
    monotonic: float

    def seconds_to(self, later: "Instant") -> float:
        """How long it was until `later`, by the clock that says it was longer."""
        return max((later.wall - self.wall).total_seconds(), later.monotonic - self.monotonic)


def instant() -> Instant:
    """The current instant by both clocks."""
    return Instant(now(), monotonic())

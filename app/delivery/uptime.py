"""Since when the database has answered this process: after an outage, who knows a result goes first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.clock import monotonic


class Uptime:
    """After `grace` seconds without trouble, every worker that lives has had the time to renew its leases and to write
    down its results, so that a lease that has ended is a dead worker's. A process that just started knows of no time
    before. To be kept up by asking the database all the time. `clock` counts seconds, whatever the wall clock says."""

    def __init__(self, grace: float, clock: Callable[[], float] = monotonic) -> None:
        self._grace = grace
        self._clock = clock
        self._since = clock()
        self._asked_at: float | None = None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """The block asks the database. It was down if the block raises, or takes longer than `grace`."""
        self._asked_at = asked_at = self._clock()
        try:
            yield
        except Exception:
            self._since = self._clock()
            raise
        finally:
            self._asked_at = None
        if self._seconds_from(asked_at) > self._grace:
            self._since = self._clock()

    @property
    def lasts(self) -> bool:
        """Whether the database has answered for `grace` seconds, and is not keeping us waiting for an answer."""
        waiting = 0.0 if self._asked_at is None else self._seconds_from(self._asked_at)
        return waiting <= self._grace <= self._seconds_from(self._since)

    def _seconds_from(self, moment: float) -> float:
        return self._clock() - moment

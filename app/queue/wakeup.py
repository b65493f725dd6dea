"""A row changed: tell whoever waits for it in this process. Other processes: see announce."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from msgspec import Struct

from app.queue.intake import Intake

_MOST_ARRIVALS = 1000


class Arrival(Struct, frozen=True):
    """A mail that was accepted by this process, is due, and can leave by its own service only."""

    message_id: UUID
    service_id: UUID


class Wakeup:
    """Signals between the doors and the worker of one process; losing one costs a poll interval, never a mail.
    `intake`: what the doors are putting in the queue."""

    def __init__(self) -> None:
        self._work = asyncio.Event()
        self._arrivals: list[Arrival] | None = []
        self._watchers: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self.intake = Intake()

    def work_arrived(self) -> None:
        """Some message became due: the engine looks at once. Call it after the commit."""
        self._arrivals = None
        self._work.set()

    def mail_arrived(self, arrival: Arrival) -> None:
        """The same of a mail that the engine need not look for."""
        if self._arrivals is not None:
            if len(self._arrivals) < _MOST_ARRIVALS:
                self._arrivals.append(arrival)
            else:
                self._arrivals = None
        self._work.set()

    def place_is_free(self) -> None:
        """More can be started of what the engine knows to be left."""
        self._work.set()

    async def wait_for_work(self, seconds: float) -> Sequence[Arrival] | None:
        """Return when work arrived since the last call, or after `seconds`: which mail, or None where anything may be
        due."""
        timer = asyncio.get_running_loop().call_later(seconds, self.work_arrived)
        try:
            await self._work.wait()
        finally:
            timer.cancel()
        self._work.clear()
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def message_changed(self, message_id: UUID) -> None:
        """A recipient of the message changed its state. Call it after the commit."""
        if self._watchers:
            for event in self._watchers.get(message_id, ()):
                event.set()

    def look_again(self) -> None:
        """Every watcher looks, as if its message had changed."""
        for events in self._watchers.values():
            for event in events:
                event.set()

    @contextmanager
    def watching(self, message_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when the message changes; the watcher clears it before it looks at the row."""
        event = asyncio.Event()
        self._watchers[message_id].add(event)
        try:
            yield event
        finally:
            self._watchers[message_id].discard(event)
            if not self._watchers[message_id]:
                del self._watchers[message_id]

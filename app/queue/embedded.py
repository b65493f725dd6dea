"""The engine on plain tables: the message row itself is the job, so accepting a mail enqueues it."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from app.clock import now
from app.database.connection import as_key, rows
from app.database.trouble import log_trouble
from app.queue.allowance import IS_OPEN, OWN_IS_OPEN
from app.queue.depth import count_unsettled
from app.queue.engine import Handle, Job, Priority
from app.queue.wakeup import Arrival, Wakeup

logger = logging.getLogger(__name__)

PRIORITIES = tuple(Priority)

# One range scan per priority: a single ORDER BY priority, due_at would walk over every message that is not due yet.
_DUE_BY_PRIORITY = " UNION ALL ".join(
    "SELECT * FROM (SELECT id, priority, due_at FROM message"  # noqa: S608 - constants
    f" WHERE route_id = $1 AND priority = {priority:d} AND due_at <= $2 AND {OWN_IS_OPEN}"
    f" ORDER BY due_at, id LIMIT $3) AS due_{priority:d}"
    for priority in PRIORITIES
)
# The caps say which services are paused, over their limits, or have an open circuit, but late; no claim takes their
# mail, and without the conditions it would be tried in a circle until then.
_DUE = (
    f"SELECT id FROM ({_DUE_BY_PRIORITY}) AS due WHERE EXISTS"  # noqa: S608 - constants
    " (SELECT 1 FROM service WHERE id = $1 AND is_active AND paused_at IS NULL) AND NOT EXISTS"
    " (SELECT 1 FROM circuit WHERE service_id = $1 AND probe_at > $2)"
    f" AND {IS_OPEN.format(service='$1', moment='$2')} ORDER BY priority, due_at, id LIMIT $3"
)


class EmbeddedEngine:
    """Polls every `poll` seconds, and at once when woken. Mail that is accepted beside it is started without a look at
    the table, unless there may be more than can be started. Keeps services apart: each has its own places, so one whose
    server hangs holds up nobody else's mail."""

    def __init__(self, wakeup: Wakeup, poll: float) -> None:
        self._wakeup = wakeup
        self._poll = poll
        self._caps: Mapping[UUID, int] = {}
        self._ahead: Mapping[UUID, int] = {}
        self._places: defaultdict[UUID, _Places] = defaultdict(_Places)
        self._running: dict[int, asyncio.Task[None]] = {}
        """By the message's number: the hash of a UUID takes six times as long."""

    def rows_of(self, jobs: Sequence[Job]) -> None:
        """See Engine.rows_of."""

    async def submit(self, jobs: Sequence[Job]) -> None:
        """Nothing to do: the rows of the open transaction carry `due_at` already."""

    def services_changed(self, caps: Mapping[UUID, int]) -> None:
        """Takes effect at once."""
        if caps != self._caps:
            self._caps = dict(caps)
            for service_id in caps.keys() | self._places.keys():
                self._resize(service_id)
            for service_id in [key for key, places in self._places.items() if not places.count and not places.taken]:
                del self._places[service_id]
            self._wakeup.work_arrived()

    def places_ahead(self, places: Mapping[UUID, int]) -> None:
        """See Engine.places_ahead. Takes effect at once; half of them are filled together."""
        if places != self._ahead:
            self._ahead = dict(places)
            for service_id in self._places:
                self._resize(service_id)
            self._wakeup.work_arrived()

    def _resize(self, service_id: UUID) -> None:
        places, cap, ahead = self._places[service_id], self._caps.get(service_id, 0), self._ahead.get(service_id, 0)
        places.count = cap + ahead if cap else 0
        places.at_once = max(1, ahead // 2)

    def connections(self, service_id: UUID) -> None:
        """See Engine.connections."""

    async def depth(self) -> Mapping[UUID, int]:
        """See Engine.depth."""
        return await count_unsettled()

    async def run(self, handle: Handle, stop: asyncio.Event) -> None:
        """See Engine.run."""
        stopping = asyncio.create_task(self._wake_at(stop))
        clock = asyncio.get_running_loop().time
        arrivals: Sequence[Arrival] | None = None
        try:
            while not stop.is_set():
                if arrivals is None:
                    look_at = clock() + self._poll
                await self._look(handle, arrivals)
                arrivals = await self._wakeup.wait_for_work(max(0, look_at - clock()))
                if clock() >= look_at:  # however often it was woken: of a retry that is due nobody tells
                    arrivals = None
            await asyncio.gather(*self._running.values(), return_exceptions=True)
        finally:
            stopping.cancel()
            unfinished = list(self._running.values())
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wakeup.work_arrived()

    async def _look(self, handle: Handle, arrivals: Sequence[Arrival] | None) -> None:
        """Start what is due. Trouble waits for the next look: to end here would break off the calls under way."""
        try:
            if arrivals is None:
                for service_id in list(self._caps):
                    await self._start_due(handle, service_id)
            else:
                self._start_arrived(handle, arrivals)
                for service_id, places in list(self._places.items()):
                    if places.left_some:
                        await self._start_due(handle, service_id)
        except Exception as error:
            log_trouble(logger, error, "the database is in trouble; looking for due mail again soon")

    def _start_arrived(self, handle: Handle, arrivals: Sequence[Arrival]) -> None:
        """Without asking the database, where nothing else is due that would have to go before."""
        for arrival in arrivals:
            places = self._places.get(arrival.service_id)
            if places is None:
                continue
            if places.left_some or not places.to_be_filled():
                places.left_some = True
            elif arrival.message_id.int not in self._running:
                self._start(handle, places, arrival.message_id)

    async def _start_due(self, handle: Handle, service_id: UUID) -> None:
        places = self._places[service_id]
        places.left_some = True
        if free := places.to_be_filled():
            due = await self._due(service_id, now(), free)
            places = self._places[service_id]
            for message_id in due[:free]:
                self._start(handle, places, message_id)
            places.left_some = len(due) >= free

    async def _due(self, service_id: UUID, moment: datetime, limit: int) -> list[UUID]:
        """All that is due or, where that is more, at least `limit`."""
        # What is handled as the table is looked at may be due there, though it has ended until that is known.
        handled = set(self._running)
        found = await self._found(service_id, moment, limit)
        due = [message_id for message_id in found if message_id.int not in handled]
        if len(due) < len(found) == limit:
            # Messages started but not claimed yet still look due; ask for as many more, then leave them out.
            found = await self._found(service_id, moment, limit + len(handled))
            due = [message_id for message_id in found if message_id.int not in handled]
        return due

    async def _found(self, service_id: UUID, moment: datetime, limit: int) -> list[UUID]:
        return [as_key(row["id"]) for row in await rows(_DUE, service_id, moment, limit)]

    def _start(self, handle: Handle, places: "_Places", message_id: UUID) -> None:
        task = asyncio.get_running_loop().create_task(handle(message_id), context=Context())
        self._running[message_id.int] = task
        places.taken += 1
        task.add_done_callback(partial(self._ended, message_id, places))

    def _ended(self, message_id: UUID, places: "_Places", task: asyncio.Task[None]) -> None:
        del self._running[message_id.int]
        places.taken -= 1
        if task.cancelled():
            self._wakeup.work_arrived()
        elif (error := task.exception()) is not None:
            # Without a wake-up: what fails at once is tried again after `poll` seconds, not in a circle.
            log_trouble(logger, error, "message %s: the attempt broke off", message_id)
        elif places.left_some and places.to_be_filled():
            self._wakeup.place_is_free()


@dataclass(slots=True, eq=False)
class _Places:
    """Those of one service: how many there are and are taken, and how many have to be free before any is filled.
    `left_some`: more may be due, for all that is known, than was started."""

    count: int = 0
    taken: int = 0
    at_once: int = 1
    left_some: bool = True

    def to_be_filled(self) -> int:
        """How many may be filled now."""
        free = self.count - self.taken
        return free if free >= self.at_once else 0

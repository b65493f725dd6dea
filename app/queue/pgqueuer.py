"""The engine on PostgreSQL: PgQueuer keeps the jobs, wakes the workers, and holds each service's cap over all of them.

Of PgQueuer it uses the tables and the statements. The loop is our own, because calls must outlive a connection:
PgQueuer's stops with its connection, waits for every call before it starts again, and drops the job of a call that was
cancelled. Here a job ends in one way only: its message is settled.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter

from app.clock import now
from app.database.connection import execute
from app.database.insert import Insert, Rows
from app.database.jobs import JOBS_CHANNEL, JOBS_LOG_TABLE, JOBS_TABLE, job_queries
from app.database.session import postgres_session
from app.database.trouble import log_trouble
from app.queue.depth import count_unsettled
from app.queue.engine import Handle, Job
from app.queue.pgqueuer_jobs import (
    ENTRYPOINT,
    NEW_JOB,
    Due,
    Taken,
    Waiting,
    drop_settled,
    enqueue,
    entrypoint_of,
    hand_over,
    take_behind,
    until,
    wait,
)
from app.queue.recover import recover
from app.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    job: Taken
    task: asyncio.Task[None]


class PgQueuerEngine:
    """Woken by NOTIFY, and looking every `queue_poll` seconds. A job is leased as its message is: every
    `lease_renewal` seconds its worker says that it lives, and after `lease` seconds of silence another one takes over.
    Has one connection of its own while it runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._id = QueueManagerId(uuid4())
        self._entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter] = {}
        self._ahead: dict[str, int] = {}
        self._running: dict[UUID, _Call] = {}
        self._ended: list[Taken] = []
        self._first_ended_at = 0.0
        self._slots: Counter[str] = Counter()
        self._may_follow: Counter[str] = Counter()
        self._woken = asyncio.Event()
        self._may_be_due = False

    def rows_of(self, jobs: Sequence[Job]) -> tuple[Insert, Rows]:
        """See Engine.rows_of. PgQueuer's log, which nobody reads, does not hear of them."""
        moment = now()
        return NEW_JOB, [
            (
                entrypoint_of(job.service_id),
                -job.priority,
                job.message_id,
                (job.due_at - moment).total_seconds() if job.due_at > moment else 0,
            )
            for job in jobs
        ]

    async def submit(self, jobs: Sequence[Job]) -> None:
        """See Engine.submit. The job that waits for a message already is replaced; while the message is being
        handled its job stays, and is made due again at the end by what the row says then."""
        known = await enqueue(jobs)
        if known:
            keys = [str(job.message_id) for job in known]
            await execute(f"DELETE FROM {JOBS_TABLE} WHERE dedupe_key = ANY ($1) AND status = 'queued'", keys)  # noqa: S608
            await enqueue(known)

    def services_changed(self, caps: Mapping[UUID, int]) -> None:
        """Takes effect at once, a lower cap once what was taken along is through. Each counts over all workers, which
        have to agree on it."""
        entrypoints = {
            QueueEntrypoint(entrypoint_of(service_id)): EntrypointExecutionParameter(concurrency_limit=cap)
            for service_id, cap in caps.items()
            if cap > 0
        }
        if entrypoints != self._entrypoints:
            self._entrypoints = entrypoints
            self._look()

    def places_ahead(self, places: Mapping[UUID, int]) -> None:
        """See Engine.places_ahead. Where this worker has all slots of a service, each job that it picked brings its
        share of them along, once: then it is the turn of whichever worker comes first."""
        self._ahead = {entrypoint_of(service_id): count for service_id, count in places.items()}
        for entrypoint in self._may_follow.keys() - self._ahead.keys():
            del self._may_follow[entrypoint]

    def connections(self, service_id: UUID) -> int:
        """See Engine.connections. As many as this worker has slots."""
        return self._slots[entrypoint_of(service_id)]

    async def depth(self) -> Mapping[UUID, int]:
        """See Engine.depth."""
        return await count_unsettled()

    async def run(self, handle: Handle, stop: asyncio.Event) -> None:
        """See Engine.run. When the database went away, the calls go on, and the loop begins again with it."""
        stopping = asyncio.create_task(self._wake_at(stop))
        try:
            while self._running or not stop.is_set():
                try:
                    async with self._session() as queries:
                        await self._serve(queries, handle, stop)
                except Exception as error:
                    log_trouble(logger, error, "the database is in trouble; looking for due mail again soon")
                    self._woken.clear()
                    await self._rest(min(self._settings.queue_poll, self._settings.lease_renewal))
        finally:
            stopping.cancel()
            await self._break_off()

    def _look(self) -> None:
        """Something may be due, or a slot be free for it: ask PgQueuer, which is not done for each call that ends."""
        self._may_be_due = True
        self._woken.set()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._woken.set()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Queries]:
        async with postgres_session(self._settings) as connection:
            own = connection.get_server_pid()

            def wake(_: object, by: int | None = None, *__: object) -> None:
                if by != own:  # what this session changes, it has seen
                    self._look()

            connection.add_termination_listener(wake)
            await connection.add_listener(JOBS_CHANNEL, wake)
            yield job_queries(AsyncpgDriver(connection))

    async def _serve(self, queries: Queries, handle: Handle, stop: asyncio.Event) -> None:
        """Return once `stop` is set and every call has ended and is reported."""
        beat, sweep = _Interval(self._settings.lease_renewal), _Interval(self._settings.recover_interval)
        tidy, look = _Interval(self._settings.housekeeping_interval), _Interval(self._settings.queue_poll)
        try:
            while True:
                self._woken.clear()
                if not self._may_gather():
                    await self._report(queries)
                    if self._ended:
                        continue
                if stop.is_set() and not self._running:
                    return
                if beat.is_over() and self._running:
                    await queries.update_heartbeat([call.job.id for call in self._running.values()])
                is_time = look.is_over()
                if not stop.is_set():
                    if sweep.is_over():
                        await self._redirect(queries)
                        await self._sweep(sweep)
                        self._may_be_due = True
                    if tidy.is_over():
                        await self._tidy(queries)
                    if is_time or self._may_be_due:
                        self._may_be_due = False
                        await self._start_due(queries, handle)
                await self._rest(min(look.remaining(), beat.remaining(), self._until_report()))
        except asyncio.CancelledError:
            await self._break_off()
            with suppress(Exception):
                async with asyncio.timeout(self._settings.database_busy_timeout):
                    await self._report(queries)
            raise

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _until_report(self) -> float:
        """How many seconds the reports may still gather."""
        if not self._ended:
            return math.inf
        return max(0, self._first_ended_at + self._settings.queue_report_wait - asyncio.get_running_loop().time())

    def _may_gather(self) -> bool:
        """Whether reports can wait for more: no slot would be free by them, mail that was taken along gets it."""
        if not self._running or not 0 < len(self._ended) < self._settings.queue_batch:
            return False
        if not self._until_report():
            return False
        free = Counter(job.entrypoint for job in self._ended if job.slot is not None)
        free.subtract(call.job.entrypoint for call in self._running.values() if call.job.slot is None)
        return all(count <= 0 for count in free.values())

    async def _report(self, queries: Queries) -> None:
        """Write down the calls that ended: the job of a settled message goes, any other waits until its row is due."""
        ended = list(self._ended)
        if not ended:
            return
        passed_over: set[int] = set()
        while heirs := self._heirs(ended, passed_over):
            await hand_over(queries.driver, self._id, heirs)
            passed_over |= {heir.id for _, heir in heirs if heir.slot is None}  # another worker has taken it over
        due = await drop_settled(queries.driver, ended)
        waiting = [self._waiting(job, due[job.message_id]) for job in ended if job.message_id in due]
        if waiting:
            await wait(queries.driver, self._id, waiting)
            self._may_be_due |= any(not each.delay for each in waiting)
        del self._ended[: len(ended)]
        for job in ended:
            if job.slot is not None:
                self._slots[job.entrypoint] -= 1
                self._may_be_due = True
                if not self._slots[job.entrypoint]:
                    self._may_follow.pop(job.entrypoint, None)

    def _heirs(self, ended: Sequence[Taken], passed_over: Container[int]) -> list[tuple[Taken, Taken]]:
        """Jobs that ended, each with one that gets its slot: of those under way without one the last, which needs it
        longest."""
        without = [
            call.job for call in self._running.values() if call.job.slot is None and call.job.id not in passed_over
        ]
        heirs = []
        for leaver in ended:
            if leaver.slot is not None:
                heir = next((job for job in reversed(without) if job.entrypoint == leaver.entrypoint), None)
                if heir is not None:
                    without.remove(heir)
                    heirs.append((leaver, heir))
        return heirs

    def _waiting(self, job: Taken, due: Due) -> Waiting:
        """Until its message is due; as a job of the service by which that leaves now."""
        entrypoint = entrypoint_of(due.route_id)
        delay = self._delay(due.at) if job.entrypoint == entrypoint else until(due.at)
        return Waiting(job.id, entrypoint, delay)

    def _delay(self, due_at: datetime) -> timedelta:
        # What fails at once, or may not be claimed because its service was just paused, is not tried in a circle.
        return max(timedelta(seconds=self._settings.queue_poll), until(due_at))

    async def _redirect(self, queries: Queries) -> None:
        """The job of a worker that was lost goes to the service by which its message leaves now: where the one that it
        was for is not served, nobody would ever take it over. It waits there, because its slot was of that one."""
        silent = timedelta(seconds=self._settings.lease)
        await queries.driver.execute(
            f"UPDATE {JOBS_TABLE} AS job SET entrypoint = '{ENTRYPOINT}' || message.route_id, status = 'queued',"  # noqa: S608
            " execute_after = message.due_at, queue_manager_id = NULL, slot = NULL FROM message"
            " WHERE status = 'picked' AND heartbeat < NOW() - $1::interval AND message.id = dedupe_key::uuid"
            f" AND message.due_at IS NOT NULL AND entrypoint <> '{ENTRYPOINT}' || message.route_id",
            silent,
        )

    async def _sweep(self, interval: "_Interval") -> None:
        limit = self._settings.recover_batch
        recovered = await recover(self, now(), limit)
        if recovered:
            logger.info("%d due messages had no job and got one", recovered)
        if recovered == limit:
            interval.end()
            self._woken.set()

    async def _tidy(self, queries: Queries) -> None:
        """Purge PgQueuer's own log, which nobody reads (our events tell the story), and jobs of deleted services."""
        kept = timedelta(seconds=self._settings.housekeeping_interval)
        await queries.driver.execute(f"DELETE FROM {JOBS_LOG_TABLE} WHERE created < NOW() - $1::interval", kept)  # noqa: S608
        await queries.driver.execute(
            f"DELETE FROM {JOBS_TABLE} AS job WHERE status = 'queued' AND NOT EXISTS"  # noqa: S608
            f" (SELECT 1 FROM service WHERE job.entrypoint = '{ENTRYPOINT}' || service.id)"
        )

    async def _start_due(self, queries: Queries, handle: Handle) -> None:
        if entrypoints := self._with_room():
            jobs = await queries.dequeue(
                batch_size=self._settings.queue_batch,
                entrypoints=entrypoints,
                queue_manager_id=self._id,
                global_concurrency_limit=None,
                heartbeat_timeout=timedelta(seconds=self._settings.lease),
            )
            for job in jobs:
                self._start_picked(handle, Taken(job.id, job.entrypoint, UUID(bytes=job.payload), job.slot))
            if len(jobs) == self._settings.queue_batch:
                self._look()
        for entrypoint, most in list(self._may_follow.items()):
            # Else one might wait here for a connection while another worker could have one.
            if self._slots[entrypoint] == self._cap(entrypoint):
                await self._start_behind(queries, handle, entrypoint, min(most, self._ahead.get(entrypoint, 0)))

    async def _start_behind(self, queries: Queries, handle: Handle, entrypoint: str, most: int) -> None:
        jobs = await take_behind(queries.driver, entrypoint, most)
        for job in jobs:
            self._start(handle, job)
        self._may_follow[entrypoint] -= len(jobs)
        if self._may_follow[entrypoint] <= 0:
            del self._may_follow[entrypoint]

    def _cap(self, entrypoint: str) -> int:
        cap = self._entrypoints.get(QueueEntrypoint(entrypoint))
        return cap.concurrency_limit if cap is not None else 0

    def _with_room(self) -> dict[QueueEntrypoint, EntrypointExecutionParameter]:
        """Those of which this worker alone does not have as many slots as all workers may."""
        return {
            entrypoint: cap
            for entrypoint, cap in self._entrypoints.items()
            if self._slots[entrypoint] < cap.concurrency_limit
        }

    def _start_picked(self, handle: Handle, job: Taken) -> None:
        call = self._running.get(job.message_id)
        if call is not None and call.job.id == job.id:
            return  # this worker was silent for too long, and has taken over its own
        if job.slot is None:
            self._ended.append(job)  # a lost worker had it behind another: it waits until it gets a slot
            self._woken.set()
            return
        entrypoint = job.entrypoint
        self._slots[entrypoint] += 1
        if share := self._ahead.get(entrypoint, 0) // max(1, self._cap(entrypoint)):
            self._may_follow[entrypoint] = min(self._may_follow[entrypoint] + share, share * self._slots[entrypoint])
        self._start(handle, job)

    def _start(self, handle: Handle, job: Taken) -> None:
        message_id = job.message_id
        if message_id in self._running:
            self._ended.append(job)
            return
        task = asyncio.create_task(handle(message_id), context=Context())
        self._running[message_id] = _Call(job, task)
        task.add_done_callback(partial(self._end, message_id))

    def _end(self, message_id: UUID, task: asyncio.Task[None]) -> None:
        job = self._running.pop(message_id).job
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log_trouble(logger, error, "message %s: the attempt broke off", message_id)
        if not self._ended:
            self._first_ended_at = asyncio.get_running_loop().time()
        self._ended.append(job)
        self._woken.set()

    async def _break_off(self) -> None:
        tasks = [call.task for call in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Interval:
    """Over at first, and then every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at = 0.0

    def is_over(self) -> bool:
        """Whether it is; then the next one begins."""
        time = asyncio.get_running_loop().time()
        if time < self._ends_at:
            return False
        self._ends_at = time + self._seconds
        return True

    def remaining(self) -> float:
        """How many seconds it still has."""
        return max(0, self._ends_at - asyncio.get_running_loop().time())

    def end(self) -> None:
        """Let it be over now."""
        self._ends_at = 0.0

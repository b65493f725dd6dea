"""The engine on PostgreSQL: PgQueuer keeps the jobs, wakes the workers, and holds each service's cap over all of them.

Of PgQueuer it uses the tables and the statements. The loop is our own, because calls must outlive a connection:
PgQueuer's stops with its connection, waits for every call before it starts again, and drops the job of a call that was
cancelled. Here a job ends in one way only: its message is settled.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, cast
from uuid import UUID, uuid4

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain import models
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.driver import Driver
from pgqueuer.ports.repository import EntrypointExecutionParameter

from app.clock import now
from app.database.connection import as_key, as_moment, execute, rows
from app.database.insert import Insert, Rows
from app.database.jobs import JOBS_CHANNEL, JOBS_LOG_TABLE, JOBS_TABLE, job_queries
from app.database.session import postgres_session
from app.database.trouble import log_trouble
from app.queue.depth import count_unsettled
from app.queue.engine import Handle, Job
from app.queue.recover import recover
from app.settings import Settings

logger = logging.getLogger(__name__)

_BATCH = 20
_ENTRYPOINT = "send:"


@dataclass(frozen=True, slots=True)
class _Call:
    job: models.Job
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class _Ended:
    message_id: UUID
    job: models.Job


class PgQueuerEngine:
    """Woken by NOTIFY, and looking every `queue_poll` seconds. A job is leased as its message is: every
    `lease_renewal` seconds its worker says that it lives, and after `lease` seconds of silence another one takes over.
    Has one connection of its own while it runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._id = QueueManagerId(uuid4())
        self._entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter] = {}
        self._running: dict[UUID, _Call] = {}
        self._ended: list[_Ended] = []
        self._woken = asyncio.Event()

    def rows_of(self, jobs: Sequence[Job]) -> tuple[Insert, Rows]:
        """See Engine.rows_of. PgQueuer's log, which nobody reads, does not hear of them."""
        moment = now()
        return _NEW_JOB, [
            (
                _entrypoint(job.service_id),
                -job.priority,
                job.message_id,
                (job.due_at - moment).total_seconds() if job.due_at > moment else 0,
            )
            for job in jobs
        ]

    async def submit(self, jobs: Sequence[Job]) -> None:
        """See Engine.submit. The job that waits for a message already is replaced; while the message is being
        handled its job stays, and is made due again at the end by what the row says then."""
        known = await _enqueue(jobs)
        if known:
            keys = [str(job.message_id) for job in known]
            await execute(f"DELETE FROM {JOBS_TABLE} WHERE dedupe_key = ANY ($1) AND status = 'queued'", keys)  # noqa: S608
            await _enqueue(known)

    def services_changed(self, caps: Mapping[UUID, int]) -> None:
        """Takes effect at once. Each cap counts over all workers, which have to agree on it."""
        entrypoints = {
            QueueEntrypoint(f"{_ENTRYPOINT}{service_id}"): EntrypointExecutionParameter(concurrency_limit=cap)
            for service_id, cap in caps.items()
            if cap > 0
        }
        if entrypoints != self._entrypoints:
            self._entrypoints = entrypoints
            self._woken.set()

    def fill_at_once(self, places: Mapping[UUID, int]) -> None:
        """See Engine.fill_at_once. Jobs are picked as they come."""

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
                    await self._rest()
        finally:
            stopping.cancel()
            await self._break_off()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._woken.set()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Queries]:
        async with postgres_session(self._settings) as connection:
            own = connection.get_server_pid()

            def wake(_: object, by: int | None = None, *__: object) -> None:
                if by != own:  # what this session changes, it has seen
                    self._woken.set()

            connection.add_termination_listener(wake)
            await connection.add_listener(JOBS_CHANNEL, wake)
            yield job_queries(AsyncpgDriver(connection))

    async def _serve(self, queries: Queries, handle: Handle, stop: asyncio.Event) -> None:
        """Return once `stop` is set and every call has ended and is reported."""
        beat, sweep = _Interval(self._settings.lease_renewal), _Interval(self._settings.recover_interval)
        tidy = _Interval(self._settings.housekeeping_interval)
        try:
            while True:
                self._woken.clear()
                await self._report(queries)
                if self._ended:
                    continue
                if stop.is_set() and not self._running:
                    return
                if beat.is_over() and self._running:
                    await queries.update_heartbeat([call.job.id for call in self._running.values()])
                if not stop.is_set():
                    if sweep.is_over():
                        await self._redirect(queries)
                        await self._sweep(sweep)
                    if tidy.is_over():
                        await self._tidy(queries)
                    await self._start_due(queries, handle)
                await self._rest()
        except asyncio.CancelledError:
            await self._break_off()
            with suppress(Exception):
                async with asyncio.timeout(self._settings.database_busy_timeout):
                    await self._report(queries)
            raise

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(self._settings.queue_poll, self._settings.lease_renewal)):
                await self._woken.wait()

    async def _report(self, queries: Queries) -> None:
        """Write down the calls that ended: the job of a settled message goes, any other waits until its row is due."""
        ended = list(self._ended)
        if not ended:
            return
        due = await _drop_settled(queries.driver, ended)
        for call in ended:
            if call.message_id in due:
                await self._wait(queries, call.job, due[call.message_id])
        del self._ended[: len(ended)]

    async def _wait(self, queries: Queries, job: models.Job, due: "_Due") -> None:
        """The job waits until its message is due; as a job of the service by which that leaves now."""
        entrypoint = f"{_ENTRYPOINT}{due.route_id}"
        if job.entrypoint == entrypoint:
            await queries.retry_job(job, self._delay(due.at), None)
            return
        await queries.retry_job(job, _until(due.at), None)
        await queries.driver.execute(
            f"UPDATE {JOBS_TABLE} SET entrypoint = $2 WHERE id = $1 AND status = 'queued'",  # noqa: S608
            job.id,
            entrypoint,
        )

    def _delay(self, due_at: datetime) -> timedelta:
        # What fails at once, or may not be claimed because its service was just paused, is not tried in a circle.
        return max(timedelta(seconds=self._settings.queue_poll), _until(due_at))

    async def _redirect(self, queries: Queries) -> None:
        """The job of a worker that was lost goes to the service by which its message leaves now: where the one that it
        was for is not served, nobody would ever take it over."""
        silent = timedelta(seconds=self._settings.lease)
        await queries.driver.execute(
            f"UPDATE {JOBS_TABLE} AS job SET entrypoint = '{_ENTRYPOINT}' || message.route_id FROM message"  # noqa: S608
            " WHERE status = 'picked' AND heartbeat < NOW() - $1::interval AND message.id = dedupe_key::uuid"
            f" AND message.due_at IS NOT NULL AND entrypoint <> '{_ENTRYPOINT}' || message.route_id",
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
            f" (SELECT 1 FROM service WHERE job.entrypoint = '{_ENTRYPOINT}' || service.id)"
        )

    async def _start_due(self, queries: Queries, handle: Handle) -> None:
        entrypoints = self._with_room()
        if not entrypoints:
            return
        jobs = await queries.dequeue(
            batch_size=_BATCH,
            entrypoints=entrypoints,
            queue_manager_id=self._id,
            global_concurrency_limit=None,
            heartbeat_timeout=timedelta(seconds=self._settings.lease),
        )
        for job in jobs:
            self._start(handle, job)
        if len(jobs) == _BATCH:
            self._woken.set()

    def _with_room(self) -> dict[QueueEntrypoint, EntrypointExecutionParameter]:
        """Those of which this worker alone does not have as many calls under way as all workers may."""
        running = Counter(call.job.entrypoint for call in self._running.values())
        return {
            entrypoint: cap
            for entrypoint, cap in self._entrypoints.items()
            if running[entrypoint] < cap.concurrency_limit
        }

    def _start(self, handle: Handle, job: models.Job) -> None:
        message_id = UUID(bytes=job.payload)
        running = self._running.get(message_id)
        if running is None:
            task = asyncio.create_task(handle(message_id), context=Context())
            self._running[message_id] = _Call(job, task)
            task.add_done_callback(partial(self._end, message_id))
        elif running.job.id != job.id:
            self._ended.append(_Ended(message_id, job))

    def _end(self, message_id: UUID, task: asyncio.Task[None]) -> None:
        job = self._running.pop(message_id).job
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log_trouble(logger, error, "message %s: the attempt broke off", message_id)
        self._ended.append(_Ended(message_id, job))
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

    def end(self) -> None:
        """Let it be over now."""
        self._ends_at = 0.0


@dataclass(frozen=True, slots=True)
class _Due:
    at: datetime
    route_id: UUID


async def _drop_settled(driver: Driver, ended: Sequence[_Ended]) -> Mapping[UUID, _Due]:
    """Delete the jobs of messages that are settled, or gone; when each other one is due, and for which service."""
    found: list[dict[str, Any]] = await driver.fetch(
        "WITH due AS (SELECT id, due_at, COALESCE(route_id, service_id) AS route_id FROM message"  # noqa: S608
        " WHERE id = ANY ($1::uuid[]) AND due_at IS NOT NULL),"
        f" settled AS (DELETE FROM {JOBS_TABLE} AS job USING unnest($1::uuid[], $2::bigint[]) AS ended (message_id, id)"
        " WHERE job.id = ended.id AND job.id = ANY ($2::bigint[]) AND message_id NOT IN (SELECT id FROM due))"
        " SELECT id, due_at, route_id FROM due",
        [each.message_id for each in ended],
        [each.job.id for each in ended],
    )
    return {as_key(row["id"]): _Due(as_moment(row["due_at"]), as_key(row["route_id"])) for row in found}


_NEW_JOB = Insert(
    JOBS_TABLE,
    {"entrypoint": "text", "priority": "integer", "dedupe_key": "text", "execute_after": "float8"},
    computed={
        "execute_after": "NOW() + execute_after * interval '1 second'",
        "payload": "uuid_send(dedupe_key::uuid)",
        "status": "'queued'",
    },
)


async def _enqueue(jobs: Sequence[Job]) -> list[Job]:
    """The jobs whose message has one already, waiting or under way; the others are inserted."""
    if not jobs:
        return []
    inserted = await job_queries(cast(Driver, _OpenTransaction())).enqueue(
        [_entrypoint(job.service_id) for job in jobs],
        [job.message_id.bytes for job in jobs],
        [-job.priority for job in jobs],
        [_until(job.due_at) for job in jobs],
        [str(job.message_id) for job in jobs],
        on_conflict="skip",
    )
    return [job for job, key in zip(jobs, inserted, strict=True) if key is None]


class _OpenTransaction:
    """As much of a driver as enqueueing needs: its statement runs in the transaction of the caller."""

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        return await rows(query, *args)


@lru_cache(maxsize=1000)
def _entrypoint(service_id: UUID) -> str:
    return f"{_ENTRYPOINT}{service_id}"


def _until(moment: datetime) -> timedelta:
    return max(timedelta(0), moment - now())

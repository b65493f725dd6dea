"""PgQueuer's jobs: how messages get theirs, and what a worker does with those that it has.

A job that is picked has a slot, of which all workers together have as many as the service may have connections. Behind
it a worker takes further jobs along, which have none; such a one is given the slot of one that ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

from pgqueuer.domain.types import JobId
from pgqueuer.ports.driver import Driver

from app.clock import now
from app.database.connection import as_key, as_moment, rows
from app.database.insert import Insert
from app.database.jobs import JOBS_TABLE, job_queries
from app.queue.engine import Job

ENTRYPOINT = "send:"


@dataclass(slots=True, eq=False)
class Taken:
    """A job that this worker has."""

    id: JobId
    entrypoint: str
    message_id: UUID
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """When a message is due, and by which service it leaves then."""

    at: datetime
    route_id: UUID


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job of a message that is due after `delay`, and by which service it leaves then."""

    id: JobId
    entrypoint: str
    delay: timedelta


async def take_behind(driver: Driver, entrypoint: str, limit: int) -> list[Taken]:
    """So many due jobs more, without a slot, the most urgent first."""
    found: list[dict[str, Any]] = await driver.fetch(_TAKE_BEHIND, entrypoint, limit)
    found.sort(key=lambda row: (-row["priority"], row["id"]))
    return [Taken(row["id"], entrypoint, UUID(bytes=row["payload"])) for row in found]


async def hand_over(driver: Driver, worker_id: UUID, heirs: Sequence[tuple[Taken, Taken]]) -> None:
    """The slot of the first of each two jobs is the second's then, if the worker has both; else nothing changes."""
    found: list[dict[str, Any]] = await driver.fetch(
        _HAND_OVER,
        [leaver.id for leaver, _ in heirs],
        [leaver.slot for leaver, _ in heirs],
        [heir.id for _, heir in heirs],
        worker_id,
    )
    inherited = {row["id"] for row in found}
    for leaver, heir in heirs:
        if heir.id in inherited:
            heir.slot, leaver.slot = leaver.slot, None


async def drop_settled(driver: Driver, ended: Sequence[Taken]) -> Mapping[UUID, Due]:
    """Delete the jobs of messages that are settled, or gone; when each other one is due, and for which service."""
    found: list[dict[str, Any]] = await driver.fetch(
        "WITH due AS (SELECT id, due_at, COALESCE(route_id, service_id) AS route_id FROM message"  # noqa: S608
        " WHERE id = ANY ($1::uuid[]) AND due_at IS NOT NULL),"
        f" settled AS (DELETE FROM {JOBS_TABLE} AS job USING unnest($1::uuid[], $2::bigint[]) AS ended (message_id, id)"
        " WHERE job.id = ended.id AND job.id = ANY ($2::bigint[]) AND message_id NOT IN (SELECT id FROM due))"
        " SELECT id, due_at, route_id FROM due",
        [job.message_id for job in ended],
        [job.id for job in ended],
    )
    return {as_key(row["id"]): Due(as_moment(row["due_at"]), as_key(row["route_id"])) for row in found}


async def wait(driver: Driver, worker_id: UUID, waiting: Sequence[Waiting]) -> None:
    """Let the jobs wait, and give back their slots; those that another worker has taken over stay with it."""
    await driver.execute(
        _WAIT,
        [each.id for each in waiting],
        [each.entrypoint for each in waiting],
        [each.delay for each in waiting],
        worker_id,
    )


NEW_JOB = Insert(
    JOBS_TABLE,
    {"entrypoint": "text", "priority": "integer", "dedupe_key": "text", "execute_after": "float8"},
    computed={
        "execute_after": "NOW() + execute_after * interval '1 second'",
        "payload": "uuid_send(dedupe_key::uuid)",
        "status": "'queued'",
    },
)


async def enqueue(jobs: Sequence[Job]) -> list[Job]:
    """The jobs whose message has one already, waiting or under way; the others are inserted."""
    if not jobs:
        return []
    inserted = await job_queries(cast(Driver, _OpenTransaction())).enqueue(
        [entrypoint_of(job.service_id) for job in jobs],
        [job.message_id.bytes for job in jobs],
        [-job.priority for job in jobs],
        [until(job.due_at) for job in jobs],
        [str(job.message_id) for job in jobs],
        on_conflict="skip",
    )
    return [job for job, key in zip(jobs, inserted, strict=True) if key is None]


class _OpenTransaction:
    """As much of a driver as enqueueing needs: its statement runs in the transaction of the caller."""

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        return await rows(query, *args)


@lru_cache(maxsize=1000)
def entrypoint_of(service_id: UUID) -> str:
    """What jobs of this service are under."""
    return f"{ENTRYPOINT}{service_id}"


def until(moment: datetime) -> timedelta:
    """How long that is from now on, at least 0."""
    return max(timedelta(0), moment - now())


# Picked, but by nobody: PgQueuer counts those of a worker, and takes over those that show no sign of life.
_TAKE_BEHIND = (
    f"UPDATE {JOBS_TABLE} SET status = 'picked', updated = NOW(), heartbeat = NOW(), slot = NULL"  # noqa: S608
    f" WHERE id = ANY (ARRAY(SELECT id FROM {JOBS_TABLE} WHERE entrypoint = $1 AND status = 'queued'"
    " AND execute_after < NOW() ORDER BY priority DESC, id LIMIT $2 FOR UPDATE SKIP LOCKED))"
    " RETURNING id, payload, priority"
)
_HAND_OVER = (
    f"WITH given AS (UPDATE {JOBS_TABLE} AS job SET slot = NULL, queue_manager_id = NULL"  # noqa: S608
    " FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS leaver (id, slot, heir_id)"
    " WHERE job.id = leaver.id AND job.id = ANY ($1::bigint[]) AND job.slot = leaver.slot AND queue_manager_id = $4"
    f" AND status = 'picked' AND EXISTS (SELECT 1 FROM {JOBS_TABLE} AS heir WHERE heir.id = leaver.heir_id"
    " AND heir.id = ANY ($3::bigint[]) AND heir.status = 'picked' AND heir.slot IS NULL"
    " AND (heir.queue_manager_id IS NULL OR heir.queue_manager_id = $4)) RETURNING leaver.slot, heir_id)"
    f" UPDATE {JOBS_TABLE} AS job SET slot = given.slot, queue_manager_id = $4 FROM given WHERE job.id = heir_id"
    " AND job.id = ANY ($3::bigint[]) AND status = 'picked' AND job.slot IS NULL"
    " AND (queue_manager_id IS NULL OR queue_manager_id = $4) RETURNING job.id"
)
_WAIT = (
    f"UPDATE {JOBS_TABLE} AS job SET status = 'queued', entrypoint = waiting.entrypoint, updated = NOW(),"  # noqa: S608
    " execute_after = NOW() + delay, attempts = attempts + 1, queue_manager_id = NULL, slot = NULL"
    " FROM unnest($1::bigint[], $2::text[], $3::interval[]) AS waiting (id, entrypoint, delay)"
    " WHERE job.id = waiting.id AND job.id = ANY ($1::bigint[]) AND status = 'picked'"
    " AND (queue_manager_id IS NULL OR queue_manager_id = $4)"
)

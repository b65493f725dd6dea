"""Due rows that no engine knows of go back to it: the rows are the truth."""

from datetime import datetime

from app.database.connection import as_key, as_moment, rows, transaction
from app.database.jobs import JOBS_TABLE
from app.queue.engine import Engine, Job

_WITHOUT_JOB = (
    "SELECT id, route_id, due_at, priority FROM message"  # noqa: S608 - constants
    " WHERE due_at <= $1 AND service_id IS NOT NULL AND route_id IS NOT NULL AND NOT EXISTS (SELECT 1"
    f" FROM {JOBS_TABLE} AS job WHERE job.dedupe_key = message.id::text AND (job.status = 'picked' OR"
    " job.status = 'queued' AND job.entrypoint = 'send:' || message.route_id"
    " AND job.execute_after <= NOW() + INTERVAL '1 minute'))"
    " ORDER BY due_at, id LIMIT $2"
)


async def recover(engine: Engine, moment: datetime, limit: int) -> int:
    """Submit the messages due at `moment` for which PgQueuer has no job soon, at most `limit`; returns how many.

    There are such rows after a switch from the embedded engine, or where another process has no PgQueuer; and a job is
    late where a mail became due while its last attempt was just being reported. A job of another service than the one
    by which the mail leaves counts as none.
    """
    async with transaction():
        found = await rows(_WITHOUT_JOB, moment, limit)
        await engine.submit(
            [
                Job(as_key(row["id"]), as_key(row["route_id"]), as_moment(row["due_at"]), row["priority"])
                for row in found
            ]
        )
    return len(found)

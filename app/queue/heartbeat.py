"""Signs of life of the worker processes."""

import os
import socket
from datetime import datetime, timedelta
from uuid import UUID

from app.database.connection import as_moment, execute, rows


async def beat(worker_id: UUID, moment: datetime) -> None:
    """Say that this process's worker lives; the first beat makes its row."""
    await execute(
        "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, $2, $3, $4, $4)"
        " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at",
        worker_id,
        socket.gethostname(),
        os.getpid(),
        moment,
    )


async def leave(worker_id: UUID) -> None:
    """The worker stopped on purpose: forget it."""
    await execute("DELETE FROM worker WHERE id = $1", worker_id)


async def last_beat() -> datetime | None:
    """When any worker last gave a sign of life."""
    found = await rows("SELECT MAX(beat_at) AS beat_at FROM worker")
    beat_at: str | datetime | None = found[0]["beat_at"]
    return as_moment(beat_at)


async def forget_lost_workers(moment: datetime, lost_after: float) -> int:
    """Delete the rows of workers silent for ten times `lost_after` seconds; their mail is due again long since."""
    return await execute("DELETE FROM worker WHERE beat_at < $1", moment - timedelta(seconds=10 * lost_after))

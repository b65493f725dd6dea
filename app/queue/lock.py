"""One message's row, locked: what is read of it stays true until the transaction ends."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.database.connection import as_key, as_moment, dialect, rows
from app.queue.lost import end_lost_attempt

LEASE_GRACE = 3600.0
"""Seconds; the default of HELIOGRAPH_LEASE_GRACE, for callers that have no settings."""


@dataclass(frozen=True, slots=True)
class LockedMessage:
    """`is_leased`: a worker that lives, or may still come back with a result, holds it, so that its claimed recipients
    and its lease are to be left alone."""

    id: UUID
    service_id: UUID | None
    role_id: UUID | None
    priority: int
    scheduled_at: datetime | None
    expires_at: datetime | None
    is_leased: bool


async def lock_message(message_id: UUID, moment: datetime, grace: float = LEASE_GRACE) -> LockedMessage | None:
    """Lock the message inside the open transaction; None when there is none.

    Claims and settlements touch the message's row first, so they wait. Who asks here cannot know whether a worker
    whose lease has ended died, or knows a result that an outage kept it from writing. So it has `grace` seconds more;
    only then the attempt is ended: see `end_lost_attempt`. Workers find out earlier who died.
    """
    found = await rows(
        "SELECT service_id, role_id, priority, scheduled_at, expires_at, lease_until"  # noqa: S608 - constants
        f" FROM message WHERE id = $1{row_lock()}",
        message_id,
    )
    if not found:
        return None
    row = found[0]
    lease_until = as_moment(row["lease_until"])
    message = LockedMessage(
        id=message_id,
        service_id=as_key(row["service_id"]),
        role_id=as_key(row["role_id"]),
        priority=row["priority"],
        scheduled_at=as_moment(row["scheduled_at"]),
        expires_at=as_moment(row["expires_at"]),
        is_leased=is_leased(lease_until, moment, grace),
    )
    if lease_until is not None and not message.is_leased:
        await end_lost_attempt(message_id, moment)
    return message


def is_leased(lease_until: datetime | None, moment: datetime, grace: float = LEASE_GRACE) -> bool:
    """Whether a lease that ends then is to be left alone at `moment`."""
    return lease_until is not None and lease_until + timedelta(seconds=grace) > moment


def row_lock() -> str:
    """SQLite has no row locks and needs none: its transaction holds the whole database."""
    return " FOR UPDATE" if dialect() == "postgres" else ""

"""Mail whose author gave it a time after which it must not be sent."""

from datetime import datetime
from uuid import UUID

from app.database.connection import as_key, rows, transaction
from app.queue.change import EXPIRE, change_recipients
from app.queue.lock import LEASE_GRACE, lock_message

_AT_ONCE = 500


async def expire_message(message_id: UUID, moment: datetime, grace: float = LEASE_GRACE) -> bool:
    """Expire what is unsent of the message if its time is over; whether that changed anything.

    Call it inside a transaction. A recipient that is being sent right now is left to its attempt; so it is for `grace`
    seconds after the lease.
    """
    message = await lock_message(message_id, moment, grace)
    if message is None or message.expires_at is None or message.expires_at > moment:
        return False
    return any(change.changed for change in await change_recipients(message, EXPIRE, moment))


async def expire_overdue(moment: datetime, grace: float = LEASE_GRACE) -> int:
    """Expire all mail whose time is over, also where it is held or its service is paused; how many messages."""
    expired, last = 0, UUID(int=0)
    while found := await _overdue(moment, last):
        for last in found:
            async with transaction():
                expired += await expire_message(last, moment, grace)
    return expired


async def _overdue(moment: datetime, after: UUID) -> list[UUID]:
    found = await rows(
        "SELECT id FROM message WHERE settled_at IS NULL AND expires_at <= $1 AND id > $2 ORDER BY id LIMIT $3",
        moment,
        after,
        _AT_ONCE,
    )
    return [as_key(row["id"]) for row in found]

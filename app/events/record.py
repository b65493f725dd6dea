"""Write events, inside the transaction of what they tell of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.database.connection import execute_many
from app.database.key import new_key


class EventType(StrEnum):
    """What can happen to a message or to one of its recipients."""

    ACCEPTED = "accepted"
    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    HELD = "held"
    RELEASED = "released"
    RESCHEDULED = "rescheduled"
    RETRIED = "retried"


@dataclass(slots=True)  # frozen, it would take several times as long to make
class Happening:
    """One event to be written. `data` is plain JSON and holds no secret and no content."""

    type: EventType
    message_id: UUID
    recipient_id: UUID | None = None
    data: Mapping[str, object] = field(default_factory=dict)


async def record(happenings: Sequence[Happening], moment: datetime) -> None:
    """Insert the events; call it inside the transaction that made them true."""
    await execute_many(
        "INSERT INTO event (id, message_id, recipient_id, type, data, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        [
            (
                new_key(),
                event.message_id,
                event.recipient_id,
                event.type.value,
                json.dumps(dict(event.data)) if event.data else "{}",
                moment,
            )
            for event in happenings
        ],
    )


def _document(data: Mapping[str, object]) -> str:
    return json.dumps(dict(data)) if data else "{}"

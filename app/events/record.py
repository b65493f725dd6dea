"""Write events, inside the transaction of what they tell of."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct, field

from app.database.connection import insert, stored_moment
from app.database.insert import Insert, Rows
from app.database.key import new_key_texts


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


class Happening(Struct, frozen=True):
    """One event to be written. `data` is plain JSON and holds no secret and no content."""

    type: EventType
    message_id: UUID
    recipient_id: UUID | str | None = None
    data: Mapping[str, object] = field(default_factory=dict)


_OF_A_MESSAGE = {"id": "uuid", "message_id": "uuid", "type": "text", "created_at": "timestamptz"}
_INSERT_OF_A_MESSAGE = Insert("event", _OF_A_MESSAGE, computed={"data": "'{}'"})
_INSERT = Insert("event", _OF_A_MESSAGE | {"data": "jsonb", "recipient_id": "uuid"})


async def record(happenings: Sequence[Happening], moment: datetime) -> None:
    """Insert the events; call it inside the transaction that made them true."""
    events = [(each.message_id, each.recipient_id, each.type.value, _document(each.data)) for each in happenings]
    await insert(told(events, moment, new_key_texts(len(events))))


Told = tuple[UUID | str, UUID | str | None, str, str]
"""A message, a recipient if it is one's, what happened, and its data as JSON."""


def told(events: Sequence[Told], moment: datetime, keys: Sequence[str]) -> tuple[Insert, Rows]:
    """What `record` inserts, where keys and data are at hand as they are stored; to be inserted with what made it
    true. `keys`: new ones, of the events."""
    at = stored_moment(moment)
    pairs = zip(keys, events, strict=True)
    return _INSERT, [(key, message, kind, at, data, recipient) for key, (message, recipient, kind, data) in pairs]


def each(type_: EventType, message_keys: Sequence[str], moment: datetime, keys: Sequence[str]) -> tuple[Insert, Rows]:
    """The same event of several messages, whose keys are given as text; to be inserted with what made it true. `keys`:
    new ones, of the events."""
    at, kind = stored_moment(moment), type_.value
    return _INSERT_OF_A_MESSAGE, [(key, message, kind, at) for key, message in zip(keys, message_keys, strict=True)]


def _document(data: Mapping[str, object]) -> str:
    return json.dumps(dict(data)) if data else "{}"

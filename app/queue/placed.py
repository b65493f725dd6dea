"""Messages that are being accepted, with their places in the queue, and the rows that they become."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from app.database.connection import stored_moment
from app.database.insert import Insert, Rows
from app.database.key import new_key_texts
from app.database.values import kept_key_text, key_text
from app.events.record import EventType, each
from app.limits.counter import Taken, count_rows
from app.queue.content import SlicedContent, give_content
from app.queue.doubt import OnDoubt
from app.queue.engine import Job, Priority
from app.queue.route import stored_keys
from app.queue.states import MessageState, RecipientState

if TYPE_CHECKING:
    from app.queue.put import Idempotency, NewMessage, Outcome


class Placed(Struct):
    """A message with its key as text, its place in the queue, and what comes of it."""

    message: "NewMessage"
    key: str
    route_id: UUID
    route_reason: str | None
    due_at: datetime
    outcome: "Outcome | None" = None


def at_own_service(message: "NewMessage", moment: datetime) -> Placed:
    """Where a message stands that leaves by its own service."""
    send_at = message.schedule.send_at
    due_at = moment if send_at is None or send_at < moment else send_at
    return Placed(message, key_text(message.id), message.service_id, None, due_at)


def jobs_of(placed: Sequence[Placed]) -> list[Job]:
    """What the engine is told of them."""
    return [Job(place.message.id, place.route_id, place.due_at, place.message.schedule.priority) for place in placed]


def accepted_rows(placed: Sequence[Placed], takes: Sequence[Taken], moment: datetime) -> list[tuple[Insert, Rows]]:
    """What makes them accepted, besides their own rows and their jobs: `takes` is what they took of quotas."""
    events, recipients = len(placed), sum([len(place.message.recipients) for place in placed])
    keys = new_key_texts(events + recipients)  # once for all: that takes longer than each of them
    return [
        content_rows(placed),
        recipient_rows(placed, moment, keys[events:]),
        count_rows(takes),
        each(EventType.ACCEPTED, [place.key for place in placed], moment, keys[:events]),
    ]


def message_rows(placed: Sequence[Placed], moment: datetime) -> tuple[Insert, Rows]:
    """Their own rows, to be inserted."""
    at = stored_moment(moment)
    owner: tuple[UUID, UUID, UUID] | None = None
    service_key = role_key = api_key = ""
    values, have_more = [], False
    for place in placed:
        message, schedule = place.message, place.message.schedule
        # Those that come together mostly are of one author: the keys are made text once.
        if owner != (message.service_id, message.role_id, message.api_key_id):
            owner = message.service_id, message.role_id, message.api_key_id
            service_key, role_key, api_key = map(kept_key_text, owner)
        have_more = have_more or _has_more(place)
        values.append(
            (
                place.key,
                service_key,
                message.service_name,
                role_key,
                api_key,
                _NORMAL if schedule.priority is Priority.NORMAL else schedule.priority.value,
                message.message_id_header,
                message.reverse_path,
                message.smtputf8,
                message.sender.email,
                message.sender.name,
                message.subject,
                json.dumps(dict(message.metadata)) if message.metadata else "{}",
                json.dumps(list(message.tags)) if message.tags else "[]",
                len(message.content),
                message.verdict_awaited,
                _RETRY if message.on_doubt is OnDoubt.RETRY else message.on_doubt.value,
                at if place.due_at is moment else place.due_at,
                at,
                service_key if place.route_id is message.service_id else place.route_id,
            )
        )
    if have_more:
        return _MESSAGE_WITH_MORE, [(*row, *_more(place)) for row, place in zip(values, placed, strict=True)]
    return _MESSAGE, values


def _has_more(place: Placed) -> bool:
    """Whether any of `_more` is not null. Of most mail all of it is, and then none is inserted."""
    message, schedule = place.message, place.message.schedule
    is_timed = schedule.send_at is not None or schedule.expires_at is not None
    return is_timed or message.template is not None or bool(message.fallbacks) or place.route_reason is not None


def _more(place: Placed) -> tuple[object, ...]:
    message, template, schedule = place.message, place.message.template, place.message.schedule
    return (
        schedule.send_at,
        schedule.expires_at,
        template.id if template else None,
        template.name if template else None,
        template.version if template else None,
        place.route_reason,
        stored_keys(message.fallbacks),
    )


def content_rows(placed: Sequence[Placed]) -> tuple[Insert, Rows]:
    """Their contents, but for the large ones."""
    return _CONTENT, [
        (place.key, place.message.content) for place in placed if isinstance(place.message.content, bytes)
    ]


def key_rows(placed: Sequence[Placed], moment: datetime) -> tuple[Insert, Rows]:
    """Their idempotency keys, in the order of `by_key`."""
    keyed = by_key(placed)
    ids = new_key_texts(len(keyed))
    return _KEY, [
        (id_, str(place.message.role_id), idempotency.key, idempotency.digest, place.key, moment)
        for id_, (place, idempotency) in zip(ids, keyed, strict=True)
    ]


def by_key(placed: "Sequence[Placed]") -> "list[tuple[Placed, Idempotency]]":
    """Those that have an idempotency key, always in one order: so no two transactions wait for each other."""
    keyed = [(place, place.message.idempotency) for place in placed if place.message.idempotency is not None]
    return sorted(keyed, key=lambda both: (both[0].message.role_id, both[1].key))


async def give_large_contents(placed: Sequence[Placed]) -> None:
    """The large contents become those of their messages, which are inserted. Raises as `give_content` does."""
    for place in placed:
        if isinstance(place.message.content, SlicedContent):
            await give_content(place.message.content, place.message.id)


def recipient_rows(placed: Sequence[Placed], moment: datetime, keys: Sequence[str]) -> tuple[Insert, Rows]:
    """Their recipients, with these keys."""
    at = stored_moment(moment)
    values, new_keys = [], iter(keys)
    for place in placed:
        due_at = at if place.due_at is moment else place.due_at
        for position, to in enumerate(place.message.recipients):
            key = next(new_keys)
            values.append((key, place.key, position, to.kind, to.email, to.name, to.address, due_at))
    return _RECIPIENT, values


_NORMAL, _RETRY = Priority.NORMAL.value, OnDoubt.RETRY.value

_OF_EVERY_MESSAGE = {
    "id": "uuid",
    "service_id": "uuid",
    "service_name": "text",
    "role_id": "uuid",
    "api_key_id": "uuid",
    "priority": "smallint",
    "message_id_header": "text",
    "reverse_path": "text",
    "smtputf8": "boolean",
    "from_email": "text",
    "from_name": "text",
    "subject": "text",
    "metadata": "jsonb",
    "tags": "jsonb",
    "size_bytes": "integer",
    "verdict_awaited": "boolean",
    "on_doubt": "text",
    "due_at": "timestamptz",
    "created_at": "timestamptz",
    "route_id": "uuid",
}
_QUEUED_MESSAGE = {"state": f"'{MessageState.QUEUED.value}'", "fence": "0"}
_OF_FEW_MESSAGES = {
    "scheduled_at": "timestamptz",
    "expires_at": "timestamptz",
    "template_id": "uuid",
    "template_name": "text",
    "template_version": "integer",
    "route_reason": "text",
    "fallbacks": "jsonb",
}
_MESSAGE = Insert("message", _OF_EVERY_MESSAGE, computed=_QUEUED_MESSAGE)
_MESSAGE_WITH_MORE = Insert("message", _OF_EVERY_MESSAGE | _OF_FEW_MESSAGES, computed=_QUEUED_MESSAGE)
_CONTENT = Insert("message_content", {"message_id": "uuid", "octets": "bytea"})
_KEY = Insert(
    "idempotency_key",
    {
        "id": "uuid",
        "role_id": "uuid",
        "key": "text",
        "digest": "text",
        "message_id": "uuid",
        "created_at": "timestamptz",
    },
)
_RECIPIENT = Insert(
    "recipient",
    {
        "id": "uuid",
        "message_id": "uuid",
        "position": "integer",
        "kind": "text",
        "email": "text",
        "name": "text",
        "address": "text",
        "due_at": "timestamptz",
    },
    computed={"state": f"'{RecipientState.QUEUED.value}'", "attempt_number": "0"},
)

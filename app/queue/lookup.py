"""Read messages, their recipients and attempts, for the doors."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.access.policy import ServiceScope
from app.database.connection import as_document, as_key, as_moment, dialect, rows
from app.database.where import Where
from app.mail.characters import unstorable
from app.mail.reply import Reply, stored_reply
from app.queue.doubt import OnDoubt
from app.queue.engine import Priority
from app.queue.states import MessageState, RecipientState

_COLUMNS = (
    "id, service_id, service_name, state, message_id_header, from_email, from_name, subject, metadata, tags,"
    " size_bytes, priority, on_doubt, template_id, template_name, template_version, scheduled_at, expires_at,"
    " created_at, settled_at"
)
_TAGS = {"sqlite": "json_each(message.tags)", "postgres": "jsonb_array_elements_text(message.tags) AS tag (value)"}


class StoredMessage(NamedTuple):
    """One row of the message table. `service_id` is None once the service was deleted."""

    id: UUID
    service_id: UUID | None
    service_name: str
    state: MessageState
    message_id_header: str
    from_email: str
    from_name: str | None
    subject: str | None
    metadata: Mapping[str, Any]
    tags: Sequence[str]
    size_bytes: int
    priority: Priority
    on_doubt: OnDoubt
    template_id: UUID | None
    template_name: str | None
    template_version: int | None
    scheduled_at: datetime | None
    expires_at: datetime | None
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredRecipient:
    """One row of the recipient table. `next_attempt_at` is set while it is queued or deferred."""

    id: UUID
    message_id: UUID
    kind: str
    email: str
    name: str | None
    state: RecipientState
    attempt_number: int
    next_attempt_at: datetime | None
    reply: Reply | None
    detail: str | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """One row of the attempt table. `service_name`: the service it went through, with `fallback_reason` a fallback."""

    recipient_id: UUID
    number: int
    started_at: datetime
    finished_at: datetime
    outcome: RecipientState
    phase: str | None
    in_doubt: bool
    reply: Reply | None
    detail: str | None
    service_name: str
    fallback_reason: str | None


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """All given conditions must hold. `recipient` is one address, exactly as it was given to the mail."""

    service_name: str | None = None
    state: MessageState | None = None
    recipient: str | None = None
    tag: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


async def find_message(message_id: UUID, scope: ServiceScope) -> StoredMessage | None:
    """The message, or None when there is none or `scope` does not cover its service."""
    found = await rows(f"SELECT {_COLUMNS} FROM message WHERE id = $1", message_id)  # noqa: S608 - constants
    if not found:
        return None
    message = _message(found[0])
    return message if scope.includes(message.service_id) else None


async def list_messages(
    scope: ServiceScope, wanted: MessageFilter, *, after: UUID | None, limit: int
) -> list[StoredMessage]:
    """Newest first, at most `limit`, starting behind the message `after`."""
    if any(unstorable(text) for text in (wanted.service_name, wanted.recipient, wanted.tag) if text):
        return []
    where = Where()
    where.add_among("service_id", scope.service_ids, negate=scope.all)
    if after is not None:
        where.add("id < ?", after)
    if wanted.service_name is not None:
        where.add("service_name = ?", wanted.service_name.lower())
    if wanted.state is not None:
        where.add("state = ?", wanted.state.value)
    if wanted.recipient is not None:
        where.add("EXISTS (SELECT 1 FROM recipient WHERE message_id = message.id AND email = ?)", wanted.recipient)
    if wanted.tag is not None:
        where.add(f"? IN (SELECT value FROM {_TAGS[dialect()]})", wanted.tag)  # noqa: S608
    if wanted.created_from is not None:
        where.add("created_at >= ?", wanted.created_from)
    if wanted.created_before is not None:
        where.add("created_at < ?", wanted.created_before)
    limited = where.place(limit)
    found = await rows(
        f"SELECT {_COLUMNS} FROM message{where.clause} ORDER BY id DESC LIMIT {limited}",  # noqa: S608
        *where.arguments,
    )
    return [_message(row) for row in found]


async def list_recipients(message_ids: Sequence[UUID]) -> Mapping[UUID, list[StoredRecipient]]:
    """The recipients of each message, in the order they were named."""
    where = Where()
    where.add_among("message_id", message_ids)
    found = await rows(
        "SELECT id, message_id, kind, email, name, state, attempt_number, due_at, reply_code, reply_enhanced,"  # noqa: S608
        f" reply_text, detail, settled_at FROM recipient{where.clause} ORDER BY message_id, position",
        *where.arguments,
    )
    grouped: defaultdict[UUID, list[StoredRecipient]] = defaultdict(list)
    for row in found:
        recipient = _recipient(row)
        grouped[recipient.message_id].append(recipient)
    return grouped


async def list_attempts(message_ids: Sequence[UUID]) -> Mapping[UUID, list[StoredAttempt]]:
    """The attempts of each recipient of the messages, oldest first; keyed by the recipient."""
    where = Where()
    where.add_among("message_id", message_ids)
    found = await rows(
        "SELECT recipient_id, number, started_at, finished_at, outcome, phase, in_doubt, reply_code, reply_enhanced,"  # noqa: S608
        " reply_text, detail, service_name, fallback_reason,"
        f" (SELECT service_name FROM message WHERE id = message_id) AS own_name FROM attempt{where.clause} ORDER BY id",
        *where.arguments,
    )
    grouped: defaultdict[UUID, list[StoredAttempt]] = defaultdict(list)
    for row in found:
        attempt = _attempt(row)
        grouped[attempt.recipient_id].append(attempt)
    return grouped


def _message(row: Mapping[str, Any]) -> StoredMessage:
    return StoredMessage(
        id=as_key(row["id"]),
        service_id=as_key(row["service_id"]),
        service_name=row["service_name"],
        state=MessageState(row["state"]),
        message_id_header=row["message_id_header"],
        from_email=row["from_email"],
        from_name=row["from_name"],
        subject=row["subject"],
        metadata=as_document(row["metadata"]),
        tags=as_document(row["tags"]),
        size_bytes=row["size_bytes"],
        priority=Priority(row["priority"]),
        on_doubt=OnDoubt(row["on_doubt"]),
        template_id=as_key(row["template_id"]),
        template_name=row["template_name"],
        template_version=row["template_version"],
        scheduled_at=as_moment(row["scheduled_at"]),
        expires_at=as_moment(row["expires_at"]),
        created_at=as_moment(row["created_at"]),
        settled_at=as_moment(row["settled_at"]),
    )


def _recipient(row: Mapping[str, Any]) -> StoredRecipient:
    return StoredRecipient(
        id=as_key(row["id"]),
        message_id=as_key(row["message_id"]),
        kind=row["kind"],
        email=row["email"],
        name=row["name"],
        state=RecipientState(row["state"]),
        attempt_number=row["attempt_number"],
        next_attempt_at=as_moment(row["due_at"]),
        reply=_reply(row),
        detail=row["detail"],
        settled_at=as_moment(row["settled_at"]),
    )


def _attempt(row: Mapping[str, Any]) -> StoredAttempt:
    return StoredAttempt(
        recipient_id=as_key(row["recipient_id"]),
        number=row["number"],
        started_at=as_moment(row["started_at"]),
        finished_at=as_moment(row["finished_at"]),
        outcome=RecipientState(row["outcome"]),
        phase=row["phase"],
        in_doubt=bool(row["in_doubt"]),
        reply=_reply(row),
        detail=row["detail"],
        service_name=row["service_name"] or row["own_name"],
        fallback_reason=row["fallback_reason"],
    )


def _reply(row: Mapping[str, Any]) -> Reply | None:
    return stored_reply(row["reply_code"], row["reply_enhanced"], row["reply_text"])

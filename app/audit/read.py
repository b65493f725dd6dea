"""Read the audit log, newest first, and let go of what is old."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.audit.record import ActorKind, AuditAction
from app.database.connection import as_document, as_key, as_moment, execute, rows
from app.database.where import Where

_COLUMNS = (
    "id, at, actor, role_id, role_name, api_key_id, api_key_name, origin, action, subject_kind, subject_id,"
    " subject_name, before, after"
)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One row of the audit log."""

    id: UUID
    at: datetime
    actor: ActorKind
    role_id: UUID | None
    role_name: str | None
    api_key_id: UUID | None
    api_key_name: str | None
    origin: str | None
    action: AuditAction
    subject_kind: str
    subject_id: UUID
    subject_name: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """All given conditions must hold. `actor_id` is the key of a role or of an API key."""

    actor: ActorKind | None = None
    actor_id: UUID | None = None
    action: AuditAction | None = None
    subject_id: UUID | None = None
    at_from: datetime | None = None
    at_before: datetime | None = None


async def list_entries(wanted: AuditFilter, after: UUID | None, limit: int) -> list[StoredEntry]:
    """Newest first, at most `limit`, starting behind the entry `after`."""
    where = Where()
    if after is not None:
        where.add("id < ?", after)
    if wanted.actor is not None:
        where.add("actor = ?", wanted.actor.value)
    if wanted.actor_id is not None:
        where.add("(role_id = ? OR api_key_id = ?)", wanted.actor_id, wanted.actor_id)
    if wanted.action is not None:
        where.add("action = ?", wanted.action.value)
    if wanted.subject_id is not None:
        where.add("subject_id = ?", wanted.subject_id)
    if wanted.at_from is not None:
        where.add("at >= ?", wanted.at_from)
    if wanted.at_before is not None:
        where.add("at < ?", wanted.at_before)
    limited = where.place(limit)
    found = await rows(
        f"SELECT {_COLUMNS} FROM audit_entry{where.clause} ORDER BY id DESC LIMIT {limited}",  # noqa: S608 - constants
        *where.arguments,
    )
    return [_entry(row) for row in found]


async def find_entry(entry_id: UUID) -> StoredEntry | None:
    """The entry with this key."""
    found = await rows(f"SELECT {_COLUMNS} FROM audit_entry WHERE id = $1", entry_id)  # noqa: S608 - constants
    return _entry(found[0]) if found else None


async def forget_old_entries(moment: datetime, days: int) -> None:
    """Delete entries of more than so many days ago; 0: none."""
    if days:
        await execute("DELETE FROM audit_entry WHERE at < $1", moment - timedelta(days=days))


def _entry(row: Mapping[str, Any]) -> StoredEntry:
    return StoredEntry(
        id=as_key(row["id"]),
        at=as_moment(row["at"]),
        actor=ActorKind(row["actor"]),
        role_id=as_key(row["role_id"]),
        role_name=row["role_name"],
        api_key_id=as_key(row["api_key_id"]),
        api_key_name=row["api_key_name"],
        origin=row["origin"],
        action=AuditAction(row["action"]),
        subject_kind=row["subject_kind"],
        subject_id=as_key(row["subject_id"]),
        subject_name=row["subject_name"],
        before=as_document(row["before"]),
        after=as_document(row["after"]),
    )

"""The audit log: its type, its filter, its query."""

from datetime import datetime
from typing import Annotated, cast
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from app.access.policy import require_for_all
from app.access.principal import Action
from app.audit.read import AuditFilter, StoredEntry, find_entry, list_entries
from app.audit.record import ActorKind, AuditAction
from app.database.key import parse_public_id, public_id
from app.errors import InvalidInput
from app.graphql.context import Info
from app.graphql.paging import After, First, page
from app.graphql.types import Connection, Node
from app.queue.schedule import in_utc

ENTRY_KIND = "aud"

strawberry.enum(AuditAction, description="What was done.")
strawberry.enum(
    ActorKind,
    description="API_KEY: in a request. OPERATOR: at the machine, with `heliograph`. ENVIRONMENT: MAIL_* at a start.",
)


@strawberry.type(description="One administrative change. It cannot be edited.")
class AuditEntry(Node):
    at: datetime = strawberry.field(description="When.")
    actor: ActorKind = strawberry.field(description="Who, in general.")
    role_id: strawberry.ID | None = strawberry.field(description="The role of the API key; it may be gone by now.")
    role_name: str | None = strawberry.field(description="What the role was named then.")
    api_key_id: strawberry.ID | None = strawberry.field(description="The API key; it may be gone by now.")
    api_key_name: str | None = strawberry.field(description="What the API key was named then.")
    origin: str | None = strawberry.field(description="The remote address of the request.")
    action: AuditAction = strawberry.field(description="What was done.")
    subject_id: strawberry.ID = strawberry.field(description="What it was done to; it may be gone by now.")
    subject_name: str | None = strawberry.field(description="What that was named; null for mail.")
    before: JSON = strawberry.field(
        description="Object of the fields that differ, as they were. Secrets are masked, long texts cut."
    )
    after: JSON = strawberry.field(description="The same fields, as they are since.")

    @classmethod
    def of(cls, row: StoredEntry) -> "AuditEntry":
        return cls(
            id=strawberry.ID(public_id(ENTRY_KIND, row.id)),
            at=row.at,
            actor=row.actor,
            role_id=_id("role", row.role_id),
            role_name=row.role_name,
            api_key_id=_id("key", row.api_key_id),
            api_key_name=row.api_key_name,
            origin=row.origin,
            action=row.action,
            subject_id=strawberry.ID(public_id(row.subject_kind, row.subject_id)),
            subject_name=row.subject_name,
            before=cast(JSON, row.before),
            after=cast(JSON, row.after),
        )


@strawberry.input(description="Conditions on audit entries; all that are given must hold.")
class AuditFilterInput:
    actor: str | None = strawberry.field(
        default=None, description="The id of a role or an API key; or API_KEY, OPERATOR, ENVIRONMENT."
    )
    action: AuditAction | None = strawberry.field(default=None, description="What was done.")
    subject: strawberry.ID | None = strawberry.field(default=None, description="The id of what it was done to.")
    from_: datetime | None = strawberry.field(name="from", default=None, description="Then or later.")
    before: datetime | None = strawberry.field(default=None, description="Earlier than this.")


async def audit_log(
    info: Info,
    first: First,
    after: After = None,
    filter: Annotated[AuditFilterInput | None, strawberry.argument(description="Which ones; all when absent.")] = None,
) -> Connection[AuditEntry]:
    """Administrative changes, newest first. Needs MANAGE_ACCESS."""
    require_for_all(await info.context.principal(), Action.MANAGE_ACCESS)
    wanted = _wanted(filter) if filter else AuditFilter()

    async def load(after: UUID | None, limit: int) -> list[StoredEntry]:
        return await list_entries(wanted, after, limit)

    return await page(first, after, ENTRY_KIND, load, AuditEntry.of)


async def entry_node(key: UUID) -> AuditEntry | None:
    """The entry with this key. Whether the API key may see it is checked before."""
    found = await find_entry(key)
    return AuditEntry.of(found) if found else None


def _id(kind: str, key: UUID | None) -> strawberry.ID | None:
    return None if key is None else strawberry.ID(public_id(kind, key))


def _wanted(given: AuditFilterInput) -> AuditFilter:
    kind = next((kind for kind in ActorKind if kind.value == given.actor), None)
    return AuditFilter(
        actor=kind,
        actor_id=None if given.actor is None or kind is not None else _key(given.actor, "actor"),
        action=given.action,
        subject_id=None if given.subject is None else _key(given.subject, "subject"),
        at_from=in_utc(given.from_, "filter", "from"),
        at_before=in_utc(given.before, "filter", "before"),
    )


def _key(text: str, field: str) -> UUID:
    parsed = parse_public_id(text)
    if parsed is None:
        raise InvalidInput(f"{field} is not an id.", field=("filter", field))
    return parsed[1]

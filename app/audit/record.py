"""Write down an administrative change, inside its transaction."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from app.audit.diff import diff
from app.database.connection import execute, opened_with
from app.database.key import new_key


class AuditAction(StrEnum):
    """What can be done; named after the mutations, where there is one."""

    CREATE_SERVICE = "CREATE_SERVICE"
    UPDATE_SERVICE = "UPDATE_SERVICE"
    DELETE_SERVICE = "DELETE_SERVICE"
    PAUSE_SERVICE = "PAUSE_SERVICE"
    RESUME_SERVICE = "RESUME_SERVICE"
    CREATE_TEMPLATE = "CREATE_TEMPLATE"
    UPDATE_TEMPLATE = "UPDATE_TEMPLATE"
    RESTORE_TEMPLATE_VERSION = "RESTORE_TEMPLATE_VERSION"
    DELETE_TEMPLATE = "DELETE_TEMPLATE"
    CREATE_ROLE = "CREATE_ROLE"
    UPDATE_ROLE = "UPDATE_ROLE"
    DELETE_ROLE = "DELETE_ROLE"
    CREATE_API_KEY = "CREATE_API_KEY"
    UPDATE_API_KEY = "UPDATE_API_KEY"
    ROTATE_API_KEY = "ROTATE_API_KEY"
    REVOKE_API_KEY = "REVOKE_API_KEY"
    CANCEL_EMAIL = "CANCEL_EMAIL"
    RESCHEDULE_EMAIL = "RESCHEDULE_EMAIL"
    RETRY_EMAIL = "RETRY_EMAIL"
    HOLD_EMAIL = "HOLD_EMAIL"
    RELEASE_EMAIL = "RELEASE_EMAIL"
    GENERATE_DKIM_KEY = "GENERATE_DKIM_KEY"
    IMPORT_DKIM_KEY = "IMPORT_DKIM_KEY"
    ACTIVATE_DKIM_KEY = "ACTIVATE_DKIM_KEY"
    RETIRE_DKIM_KEY = "RETIRE_DKIM_KEY"
    DELETE_DKIM_KEY = "DELETE_DKIM_KEY"
    RESEAL_SERVICE = "RESEAL_SERVICE"
    RESEAL_DKIM_KEY = "RESEAL_DKIM_KEY"
    FORGET_CREDENTIALS = "FORGET_CREDENTIALS"


class ActorKind(StrEnum):
    """Who did it: API_KEY, in a request; OPERATOR, at the machine; ENVIRONMENT, its variables at a start."""

    API_KEY = "API_KEY"
    OPERATOR = "OPERATOR"
    ENVIRONMENT = "ENVIRONMENT"


class Requester(Protocol):
    """The part of a principal that is written down. `origin`: the remote address of the request."""

    @property
    def role_id(self) -> UUID: ...
    @property
    def role_name(self) -> str: ...
    @property
    def api_key_id(self) -> UUID: ...
    @property
    def api_key_name(self) -> str: ...
    @property
    def origin(self) -> str | None: ...


Actor = Requester | ActorKind
"""A requester, or one of the kinds that are no API key."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What was changed: its kind as in public ids, its key and, where it has one, its name then."""

    kind: str
    id: UUID
    name: str | None = None


async def record(
    by: Actor | None,
    action: AuditAction,
    subject: Subject,
    moment: datetime,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Insert the entry; call it inside the transaction of the change. None for `by` is the operator.

    `before` and `after`: the thing's facts by name, secrets as `Secret`; only what differs is kept, and texts no longer
    than HELIOGRAPH_AUDIT_MAX_CHARS.
    """
    shown_before, shown_after = diff(before or {}, after or {}, opened_with().audit_max_chars)
    await execute(
        "INSERT INTO audit_entry (id, at, actor, role_id, role_name, api_key_id, api_key_name, origin, action,"
        " subject_kind, subject_id, subject_name, before, after)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        new_key(),
        moment,
        *_columns(by or ActorKind.OPERATOR),
        action.value,
        subject.kind,
        subject.id,
        subject.name,
        json.dumps(shown_before),
        json.dumps(shown_after),
    )


def _columns(by: Actor) -> tuple[object, ...]:
    if isinstance(by, ActorKind):
        return (by.value, None, None, None, None, None)
    return (ActorKind.API_KEY.value, by.role_id, by.role_name, by.api_key_id, by.api_key_name, by.origin)

"""Make, change, find and remove roles.

What changes something takes the principal who asks, `by`, and needs MANAGE_ACCESS; None is the operator at the machine,
who may do everything. Reading is checked by the doors, with `require_for_all`.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from tortoise.exceptions import IntegrityError

from app import clock
from app.access.announce import announce_change
from app.access.check import (
    MAX_NAME_CHARS,
    GrantValues,
    RoleLimits,
    RoleValues,
    check_role,
    granted_service,
    refuse,
)
from app.access.facts import role_facts, role_subject
from app.access.models import ApiKey, Grant, Role
from app.access.policy import require_manage
from app.access.principal import Action, Principal, grant_rule
from app.access.restrictions import NO_RESTRICTIONS, restrictions_of, stored_restrictions
from app.audit.record import AuditAction, record
from app.database.connection import as_document, as_key, rows, transaction
from app.errors import Conflict, ErrorCode, NotFound
from app.limits.recipients import RecipientLimits, columns_of, given_limits


class RoleChanges(TypedDict, total=False):
    """What to change of a role; what is absent stays. `grants` replaces all grants, `limits` all limits."""

    name: str
    description: str | None
    is_active: bool
    grants: tuple[GrantValues, ...]
    limits: RecipientLimits


_DEFAULT_LIMITS = RoleLimits()


async def create_role(
    values: RoleValues,
    by: Principal | None,
    *,
    limits: RoleLimits = _DEFAULT_LIMITS,
    now: Callable[[], datetime] = clock.now,
) -> Role:
    """The new role, with its grants. Raises InvalidInput with every problem, Conflict NAME_TAKEN, Forbidden."""
    require_manage(by, Action.MANAGE_ACCESS)
    service_ids = await _service_ids()
    refuse(check_role(values, service_ids.keys(), await _template_ids(values), limits))
    moment = now()
    role = Role(created_at=moment)
    async with _unique_name(role.id, values.name), transaction():
        await _save(role, values, moment)
        await _put_grants(role, values.grants, service_ids)
        await record(by, AuditAction.CREATE_ROLE, role_subject(role), moment, after=role_facts(role, values.grants))
    return await get_role(role.id)


async def update_role(
    role_id: UUID,
    changes: RoleChanges,
    by: Principal | None,
    *,
    limits: RoleLimits = _DEFAULT_LIMITS,
    now: Callable[[], datetime] = clock.now,
) -> Role:
    """The changed role, with its grants.

    Raises NotFound, InvalidInput with every problem, Conflict NAME_TAKEN, Forbidden, and Conflict IN_USE where
    principals would make their own role inactive, or take MANAGE_ACCESS from it.
    """
    require_manage(by, Action.MANAGE_ACCESS)
    service_ids = await _service_ids()
    async with _unique_name(role_id, changes.get("name", "")), transaction():
        role = await _locked_role(role_id)
        values = _changed(role, changes)
        refuse(check_role(values, service_ids.keys(), await _template_ids(values), limits))
        if by is not None and by.role_id == role_id:
            _refuse_locking_out(changes)
        moment, before = now(), role_facts(role, await _grants(role_id) if "grants" in changes else None)
        await _save(role, values, moment)
        if "grants" in changes:
            await Grant.filter(role_id=role_id).delete()
            await _put_grants(role, values.grants, service_ids)
        facts = role_facts(role, values.grants if "grants" in changes else None)
        await record(by, AuditAction.UPDATE_ROLE, role_subject(role), moment, before=before, after=facts)
        await announce_change()
    return await get_role(role_id)


async def delete_role(role_id: UUID, by: Principal | None, *, now: Callable[[], datetime] = clock.now) -> None:
    """Remove the role with its grants and API keys. Raises NotFound, Forbidden, Conflict IN_USE for one's own."""
    require_manage(by, Action.MANAGE_ACCESS)
    if by is not None and by.role_id == role_id:
        raise Conflict("The role is your own; another role has to delete it.")
    async with transaction():
        role = await _locked_role(role_id)
        keys = await ApiKey.filter(role_id=role_id, revoked_at=None).order_by("id").values_list("name", flat=True)
        facts = {**role_facts(role, await _grants(role_id)), "apiKeys": keys}
        await Role.filter(id=role_id).delete()
        await record(by, AuditAction.DELETE_ROLE, role_subject(role), now(), before=facts)
        await announce_change()


async def get_role(role_id: UUID) -> Role:
    """The role with its grants and their services. Raises NotFound."""
    role = await Role.get_or_none(id=role_id).prefetch_related("grants__service")
    if role is None:
        raise NotFound("There is no such role.")
    return role


def in_role(role: Role, by: Principal) -> Principal:
    """The principal as it would be in this role."""
    grants = tuple(grant_rule(grant.service_id, grant.actions, grant.restrictions) for grant in role.grants)
    return replace(by, role_id=role.id, role_name=role.name, grants=grants)


async def find_role(name: str) -> Role | None:
    """The role of this name, with its grants and their services."""
    if not name.isprintable() or len(name.strip()) > MAX_NAME_CHARS:
        return None
    return await Role.get_or_none(name=name.strip()).prefetch_related("grants__service")


async def list_roles(after: UUID | None, limit: int) -> list[Role]:
    """At most `limit` roles in the order they were made, from the one behind `after`; with grants and services."""
    query = Role.all() if after is None else Role.filter(id__gt=after)
    return await query.order_by("id").limit(limit).prefetch_related("grants__service")


async def _service_ids() -> dict[str, UUID]:
    # Plain SQL, because the package of services stands above this one.
    return {row["name"]: as_key(row["id"]) for row in await rows("SELECT id, name FROM service")}


async def _template_ids(values: RoleValues) -> frozenset[UUID]:
    if not any(grant.restrictions.templates for grant in values.grants):
        return frozenset()
    return frozenset(as_key(row["id"]) for row in await rows("SELECT id FROM template"))


@asynccontextmanager
async def _unique_name(role_id: UUID, name: str) -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        if await Role.filter(name=name.strip()).exclude(id=role_id).exists():
            message = f"There is a role named {name.strip()!r} already."
            raise Conflict(message, code=ErrorCode.NAME_TAKEN, field=("name",)) from None
        raise


async def _locked_role(role_id: UUID) -> Role:
    role = await Role.filter(id=role_id).select_for_update().first()
    if role is None:
        raise NotFound("There is no such role.")
    return role


def _changed(role: Role, changes: RoleChanges) -> RoleValues:
    return RoleValues(
        name=changes.get("name", role.name),
        description=changes.get("description", role.description),
        is_active=changes.get("is_active", role.is_active),
        grants=changes.get("grants", ()),
        limits=changes.get("limits", given_limits(vars(role))),
    )


def _refuse_locking_out(changes: RoleChanges) -> None:
    if not changes.get("is_active", True):
        raise Conflict("The role is your own; another role has to make it inactive.", field=("isActive",))
    for_all = (grant for grant in changes.get("grants", ()) if grant.service is None)
    if "grants" in changes and not any(Action.MANAGE_ACCESS in grant.actions for grant in for_all):
        raise Conflict("The role is your own; another role has to take MANAGE_ACCESS from it.", field=("grants",))


async def _save(role: Role, values: RoleValues, moment: datetime) -> None:
    role.name = values.name.strip()
    role.description = values.description
    role.is_active = values.is_active
    role.update_from_dict(columns_of(values.limits))
    role.updated_at = moment
    await role.save()


async def _grants(role_id: UUID) -> list[GrantValues]:
    found = await rows(
        "SELECT s.name, g.* FROM access_grant g LEFT JOIN service s ON s.id = g.service_id WHERE g.role_id = $1",
        role_id,
    )
    return [
        GrantValues(
            row["name"],
            as_document(row["actions"]),
            restrictions_of(as_document(row["restrictions"])) or NO_RESTRICTIONS,
            given_limits(row),
        )
        for row in found
    ]


async def _put_grants(role: Role, grants: tuple[GrantValues, ...], service_ids: Mapping[str, UUID]) -> None:
    for grant in grants:
        name = granted_service(grant)
        service_id = None if name is None else service_ids[name]
        actions = [action.value for action in Action if action in grant.actions]
        row = Grant(
            role_id=role.id,
            service_id=service_id,
            actions=actions,
            restrictions=stored_restrictions(grant.restrictions),
            **columns_of(grant.limits),
        )
        await row.save(force_create=True)

"""Make, change, find and remove roles and API keys.

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
from app.access.browser import BrowserLimits, BrowserRules, browser_columns, canonical
from app.access.browser_templates import browser_problems
from app.access.check import (
    GrantValues,
    RoleLimits,
    RoleValues,
    check_api_key,
    check_api_key_changes,
    check_role,
    granted_service,
)
from app.access.facts import key_facts, key_subject, role_facts, role_subject
from app.access.models import ApiKey, Grant, Role
from app.access.policy import require_for_all
from app.access.principal import Action, Principal, grant_rule
from app.access.raw_key import digest_of, new_raw_key, prefix_of
from app.access.restrictions import NO_RESTRICTIONS, restrictions_of, stored_restrictions
from app.audit.record import AuditAction, record
from app.database.connection import as_document, as_key, rows, transaction
from app.errors import Conflict, ErrorCode, InvalidInput, NotFound, Problem
from app.limits.recipients import NO_LIMITS, RecipientLimits, columns_of, given_limits


class RoleChanges(TypedDict, total=False):
    """What to change of a role; what is absent stays. `grants` replaces all grants, `limits` all limits."""

    name: str
    description: str | None
    is_active: bool
    grants: tuple[GrantValues, ...]
    limits: RecipientLimits


class ApiKeyChanges(TypedDict, total=False):
    """What to change of an API key; what is absent stays. `limits` replaces all limits."""

    name: str
    limits: RecipientLimits


_DEFAULT_LIMITS = RoleLimits()
_DEFAULT_BROWSER_LIMITS = BrowserLimits()


async def create_role(
    values: RoleValues,
    by: Principal | None,
    *,
    limits: RoleLimits = _DEFAULT_LIMITS,
    now: Callable[[], datetime] = clock.now,
) -> Role:
    """The new role, with its grants. Raises InvalidInput with every problem, Conflict NAME_TAKEN, Forbidden."""
    _require_manage(by)
    service_ids = await _service_ids()
    _refuse(check_role(values, service_ids.keys(), await _template_ids(values), limits))
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
    _require_manage(by)
    service_ids = await _service_ids()
    async with _unique_name(role_id, changes.get("name", "")), transaction():
        role = await _locked_role(role_id)
        values = _changed(role, changes)
        _refuse(check_role(values, service_ids.keys(), await _template_ids(values), limits))
        if by is not None and by.role_id == role_id:
            _refuse_locking_out(changes)
        moment, before = now(), role_facts(role, await _grants(role_id) if "grants" in changes else None)
        await _save(role, values, moment)
        if "grants" in changes:
            await Grant.filter(role_id=role_id).delete()
            await _put_grants(role, values.grants, service_ids)
        facts = role_facts(role, values.grants if "grants" in changes else None)
        await record(by, AuditAction.UPDATE_ROLE, role_subject(role), moment, before=before, after=facts)
    return await get_role(role_id)


async def delete_role(role_id: UUID, by: Principal | None, *, now: Callable[[], datetime] = clock.now) -> None:
    """Remove the role with its grants and API keys. Raises NotFound, Forbidden, Conflict IN_USE for one's own."""
    _require_manage(by)
    if by is not None and by.role_id == role_id:
        raise Conflict("The role is your own; another role has to delete it.")
    async with transaction():
        role = await _locked_role(role_id)
        keys = await ApiKey.filter(role_id=role_id, revoked_at=None).order_by("id").values_list("name", flat=True)
        facts = {**role_facts(role, await _grants(role_id)), "apiKeys": keys}
        await Role.filter(id=role_id).delete()
        await record(by, AuditAction.DELETE_ROLE, role_subject(role), now(), before=facts)


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
    if not name.isprintable():
        return None
    return await Role.get_or_none(name=name.strip()).prefetch_related("grants__service")


async def list_roles(after: UUID | None, limit: int) -> list[Role]:
    """At most `limit` roles in the order they were made, from the one behind `after`; with grants and services."""
    query = Role.all() if after is None else Role.filter(id__gt=after)
    return await query.order_by("id").limit(limit).prefetch_related("grants__service")


async def create_api_key(
    role_id: UUID,
    name: str,
    expires_at: datetime | None,
    by: Principal | None,
    *,
    raw_key: str | None = None,
    limits: RecipientLimits = NO_LIMITS,
    browser: BrowserRules | None = None,
    browser_limits: BrowserLimits = _DEFAULT_BROWSER_LIMITS,
    now: Callable[[], datetime] = clock.now,
) -> tuple[ApiKey, str]:
    """A new API key of the role, and its text, which is stored nowhere and cannot be read again.

    `raw_key` is a text the operator chose; without one, it is random. `browser` makes it a browser key. Raises
    InvalidInput with every problem, Forbidden, and Conflict IN_USE where a key with this text exists already.
    """
    _require_manage(by)
    moment = now()
    role = await Role.get_or_none(id=role_id)
    problems = check_api_key(name, expires_at, raw_key, role is not None, moment, limits)
    _refuse((*problems, *await browser_problems(browser, browser_limits)))
    assert role is not None, "it was checked"
    text = raw_key or new_raw_key()
    api_key = ApiKey(
        name=name.strip(),
        role_id=role_id,
        prefix=prefix_of(text),
        digest=digest_of(text),
        created_at=moment,
        expires_at=expires_at,
        **columns_of(limits),
        **browser_columns(browser and canonical(browser)),
    )
    try:
        async with transaction():
            await api_key.save(force_create=True)
            facts = key_facts(api_key, role.name)
            await record(by, AuditAction.CREATE_API_KEY, key_subject(api_key), moment, after=facts)
    except IntegrityError:
        if await ApiKey.exists(digest=api_key.digest):
            raise Conflict("This API key exists already.") from None
        raise
    return api_key, text


async def update_api_key(
    api_key_id: UUID, changes: ApiKeyChanges, by: Principal | None, *, now: Callable[[], datetime] = clock.now
) -> ApiKey:
    """The changed key; new limits count from now on. Raises NotFound, Forbidden, InvalidInput with every problem."""
    _require_manage(by)
    async with transaction():
        api_key = await ApiKey.filter(id=api_key_id).select_for_update().first()
        if api_key is None:
            raise _no_such_key()
        name, limits = changes.get("name", api_key.name), changes.get("limits", given_limits(vars(api_key)))
        _refuse(check_api_key_changes(name, limits))
        role = await Role.get(id=api_key.role_id)
        before = key_facts(api_key, role.name)
        api_key.update_from_dict({"name": name.strip(), **columns_of(limits)})
        await api_key.save()
        after = key_facts(api_key, role.name)
        await record(by, AuditAction.UPDATE_API_KEY, key_subject(api_key), now(), before=before, after=after)
    return await get_api_key(api_key_id)


async def revoke_api_key(api_key_id: UUID, by: Principal | None, *, now: Callable[[], datetime] = clock.now) -> ApiKey:
    """The key, which from now on opens nothing; one that was revoked before keeps its time.

    Raises NotFound, Forbidden, Conflict IN_USE for the key that asks.
    """
    _require_manage(by)
    if by is not None and by.api_key_id == api_key_id:
        raise Conflict("The API key is the one this request came with; another key has to revoke it.")
    async with transaction():
        found = await ApiKey.filter(id=api_key_id).select_for_update().first()
        if found is None:
            raise _no_such_key()
        earlier, moment = found.revoked_at, now()
        await ApiKey.filter(id=api_key_id, revoked_at=None).update(revoked_at=moment)
        facts = ({"revokedAt": earlier}, {"revokedAt": earlier or moment})
        await record(by, AuditAction.REVOKE_API_KEY, key_subject(found), moment, before=facts[0], after=facts[1])
    return await get_api_key(api_key_id)


async def get_api_key(api_key_id: UUID) -> ApiKey:
    """What is stored of the key, with its role. Raises NotFound."""
    api_key = await ApiKey.get_or_none(id=api_key_id).prefetch_related("role")
    if api_key is None:
        raise _no_such_key()
    return api_key


async def list_api_keys(after: UUID | None, limit: int, role_id: UUID | None = None) -> list[ApiKey]:
    """At most `limit` keys, of one role or of all, in the order they were made, from the one behind `after`."""
    query = ApiKey.all() if after is None else ApiKey.filter(id__gt=after)
    if role_id is not None:
        query = query.filter(role_id=role_id)
    return await query.order_by("id").limit(limit).prefetch_related("role")


def _require_manage(by: Principal | None) -> None:
    if by is not None:
        require_for_all(by, Action.MANAGE_ACCESS)


def _no_such_key() -> NotFound:
    return NotFound("There is no such API key.")


async def _service_ids() -> dict[str, UUID]:
    # Plain SQL, because the package of services stands above this one.
    return {row["name"]: as_key(row["id"]) for row in await rows("SELECT id, name FROM service")}


async def _template_ids(values: RoleValues) -> frozenset[UUID]:
    if not any(grant.restrictions.templates for grant in values.grants):
        return frozenset()
    return frozenset(as_key(row["id"]) for row in await rows("SELECT id FROM template"))


def _refuse(problems: tuple[Problem, ...]) -> None:
    if problems:
        raise InvalidInput(problems=problems)


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

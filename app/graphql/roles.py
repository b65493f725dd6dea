"""Inputs, queries and mutations of roles and API keys."""

from datetime import datetime
from typing import Annotated, cast
from uuid import UUID

import strawberry

from app.access import models
from app.access.api_keys import (
    ApiKeyChanges,
    create_api_key,
    get_api_key,
    list_api_keys,
    revoke_api_key,
    update_api_key,
)
from app.access.check import GrantValues, KeyLimits, RoleLimits, RoleValues
from app.access.manage import RoleChanges, create_role, delete_role, get_role, list_roles, update_role
from app.access.policy import require_for_all
from app.access.principal import Action
from app.database.key import public_id
from app.errors import NotFound, Refusal
from app.graphql.browser_key import BrowserKeyInput, browser_limits
from app.graphql.changes import given_changes
from app.graphql.context import Info, note_carried_out
from app.graphql.grant_types import GrantInput
from app.graphql.key_types import ApiKey
from app.graphql.paging import After, First, key_of, page
from app.graphql.recipient_limits import RecipientLimitsInput, read_limits, with_limits
from app.graphql.types import Connection, Role, UserError, user_errors
from app.graphql.viewer import Viewer


@strawberry.input(description="A new role.")
class CreateRoleInput:
    name: str = strawberry.field(description="1 to 64 characters, unique.")
    description: str | None = strawberry.field(default=None, description="What it is for.")
    is_active: bool = strawberry.field(default=True, description="The keys of an inactive role open nothing.")
    grants: list[GrantInput] = strawberry.field(
        default_factory=list, description="At most one for each service. What no grant allows is refused."
    )
    limits: RecipientLimitsInput | None = strawberry.field(
        default=None, description="Rate limits of all its keys and services together."
    )


@strawberry.input(description="Changes of a role. What is absent stays; null clears.")
class UpdateRoleInput:
    id: strawberry.ID = strawberry.field(description="The role's id.")
    name: strawberry.Maybe[str | None] = strawberry.field(default=None, description="The new name.")
    description: strawberry.Maybe[str | None] = strawberry.field(default=None, description="What it is for.")
    is_active: strawberry.Maybe[bool | None] = strawberry.field(
        default=None, description="Whether its keys open anything."
    )
    grants: strawberry.Maybe[list[GrantInput] | None] = strawberry.field(
        default=None, description="Replaces all grants of the role."
    )
    limits: strawberry.Maybe[RecipientLimitsInput | None] = strawberry.field(
        default=None, description="Replaces all its rate limits; what was used counts on. Null: none."
    )


@strawberry.input(description="Which role to delete.")
class DeleteRoleInput:
    id: strawberry.ID = strawberry.field(description="The role's id.")


@strawberry.input(description="A new API key.")
class CreateApiKeyInput:
    role_id: strawberry.ID = strawberry.field(description="The role whose grants it gets.")
    name: str = strawberry.field(description="A name for people, 1 to 64 characters.")
    expires_at: datetime | None = strawberry.field(
        default=None, description="From when on it opens nothing; with an offset from UTC."
    )
    limits: RecipientLimitsInput | None = strawberry.field(
        default=None, description="Rate limits of this key alone, below those of its role."
    )
    allowed_networks: list[str] | None = strawberry.field(
        default=None,
        description="The only networks (192.0.2.0/24, 2001:db8::/32) and addresses it may be used from; null or empty:"
        " from anywhere.",
    )
    browser: BrowserKeyInput | None = strawberry.field(
        default=None, description="For a key that stands in a public page. Absent: for programs, which keep it secret."
    )


@strawberry.input(description="Changes of an API key. What is absent stays; null clears.")
class UpdateApiKeyInput:
    id: strawberry.ID = strawberry.field(description="The API key's id.")
    name: strawberry.Maybe[str | None] = strawberry.field(default=None, description="The new name.")
    expires_at: strawberry.Maybe[datetime | None] = strawberry.field(
        default=None, description="From when on it opens nothing; with an offset from UTC. Null: it does not expire."
    )
    limits: strawberry.Maybe[RecipientLimitsInput | None] = strawberry.field(
        default=None, description="Replaces all its rate limits; what was used counts on. Null: none."
    )
    allowed_networks: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None, description="Replaces all networks that it may be used from. Null or empty: from anywhere."
    )


@strawberry.input(description="Which API key to revoke.")
class RevokeApiKeyInput:
    id: strawberry.ID = strawberry.field(description="The API key's id.")


@strawberry.type(description="The role as it is now, or why nothing changed.")
class RolePayload:
    role: Role | None = strawberry.field(description="The role.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


@strawberry.type(description="The id of the deleted role, or why it is still there.")
class DeleteRolePayload:
    deleted_role_id: strawberry.ID | None = strawberry.field(description="The id it had.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


@strawberry.type(description="The new API key, or why there is none.")
class CreateApiKeyPayload:
    api_key: ApiKey | None = strawberry.field(description="What is stored of it.")
    key: str | None = strawberry.field(description="The key itself. It is shown this once and stored nowhere.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


@strawberry.type(description="The API key as it is now, or why nothing changed.")
class ApiKeyPayload:
    api_key: ApiKey | None = strawberry.field(description="The API key.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


async def viewer(info: Info) -> Viewer:
    """Who is asking, and what this API key may do."""
    return Viewer.of(await info.context.principal())


async def roles(info: Info, first: First, after: After = None) -> Connection[Role]:
    """All roles, in the order they were made. Needs MANAGE_ACCESS."""
    require_for_all(await info.context.principal(), Action.MANAGE_ACCESS)
    return await page(first, after, "role", list_roles, Role.of)


async def role(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The role's id.")]
) -> Role | None:
    """The role; null when there is none. Needs MANAGE_ACCESS."""
    require_for_all(await info.context.principal(), Action.MANAGE_ACCESS)
    key = key_of(id, "role")
    try:
        return Role.of(await get_role(key)) if key else None
    except NotFound:
        return None


async def api_key(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The API key's id.")]
) -> ApiKey | None:
    """What is stored of the API key; null when there is none. Needs MANAGE_ACCESS."""
    require_for_all(await info.context.principal(), Action.MANAGE_ACCESS)
    key = key_of(id, "key")
    try:
        return ApiKey.of(await get_api_key(key)) if key else None
    except NotFound:
        return None


async def api_keys(
    info: Info,
    first: First,
    after: After = None,
    role_id: Annotated[strawberry.ID | None, strawberry.argument(description="Only those of this role.")] = None,
) -> Connection[ApiKey]:
    """API keys, in the order they were made. Needs MANAGE_ACCESS."""
    require_for_all(await info.context.principal(), Action.MANAGE_ACCESS)
    of_role = key_at(role_id, "role", "roleId") if role_id else None

    async def load(after: UUID | None, limit: int) -> list[models.ApiKey]:
        return await list_api_keys(after, limit, of_role)

    return await page(first, after, "key", load, ApiKey.of)


async def create(
    info: Info, input: Annotated[CreateRoleInput, strawberry.argument(description="The role.")]
) -> RolePayload:
    """Make a role. Needs MANAGE_ACCESS."""
    quota = read_limits(input.limits)
    values = RoleValues(input.name, input.description, input.is_active, _grants(input.grants), quota)
    try:
        made = await create_role(values, await info.context.principal(), limits=_limits(info))
    except Refusal as refusal:
        return RolePayload(role=None, user_errors=user_errors(refusal))
    note_carried_out(info, public_id("role", made.id))
    return RolePayload(role=Role.of(made), user_errors=[])


async def update(
    info: Info, input: Annotated[UpdateRoleInput, strawberry.argument(description="The changes.")]
) -> RolePayload:
    """Change a role; its keys have the new grants at once. Needs MANAGE_ACCESS."""
    try:
        principal = await info.context.principal()
        changes = with_limits(given_changes(input, "name", "is_active", "grants"))
        if "grants" in changes:
            changes["grants"] = _grants(changes["grants"])
        key, given = key_at(input.id, "role"), cast(RoleChanges, changes)
        changed = await update_role(key, given, principal, limits=_limits(info))
    except Refusal as refusal:
        return RolePayload(role=None, user_errors=user_errors(refusal))
    note_access_changed(info, input.id)
    return RolePayload(role=Role.of(changed), user_errors=[])


async def delete(
    info: Info, input: Annotated[DeleteRoleInput, strawberry.argument(description="Which one.")]
) -> DeleteRolePayload:
    """Delete a role with its grants and API keys. Needs MANAGE_ACCESS."""
    try:
        principal = await info.context.principal()
        await delete_role(key_at(input.id, "role"), principal)
    except Refusal as refusal:
        return DeleteRolePayload(deleted_role_id=None, user_errors=user_errors(refusal))
    note_access_changed(info, input.id)
    return DeleteRolePayload(deleted_role_id=input.id, user_errors=[])


async def create_key(
    info: Info, input: Annotated[CreateApiKeyInput, strawberry.argument(description="The API key.")]
) -> CreateApiKeyPayload:
    """Make an API key of a role. Needs MANAGE_ACCESS."""
    try:
        principal = await info.context.principal()
        role_id = key_at(input.role_id, "role", "roleId")
        limits, settings = read_limits(input.limits), info.context.parts.settings
        made, text = await create_api_key(
            role_id,
            input.name,
            input.expires_at,
            principal,
            limits=limits,
            allowed_networks=input.allowed_networks or (),
            key_limits=KeyLimits.from_settings(settings),
            browser=input.browser.rules() if input.browser else None,
            browser_limits=browser_limits(settings),
        )
    except Refusal as refusal:
        return CreateApiKeyPayload(api_key=None, key=None, user_errors=user_errors(refusal))
    note_carried_out(info, public_id("key", made.id))
    return CreateApiKeyPayload(api_key=ApiKey.of(made), key=text, user_errors=[])


async def update_key(
    info: Info, input: Annotated[UpdateApiKeyInput, strawberry.argument(description="The changes.")]
) -> ApiKeyPayload:
    """Change an API key; what it has open from elsewhere than its new networks is closed. Needs MANAGE_ACCESS."""
    try:
        principal = await info.context.principal()
        changes = cast(ApiKeyChanges, with_limits(given_changes(input, "name")))
        key, limits = key_at(input.id, "key"), KeyLimits.from_settings(info.context.parts.settings)
        changed = await update_api_key(key, changes, principal, key_limits=limits)
    except Refusal as refusal:
        return ApiKeyPayload(api_key=None, user_errors=user_errors(refusal))
    note_access_changed(info, input.id)
    return ApiKeyPayload(api_key=ApiKey.of(changed), user_errors=[])


async def revoke_key(
    info: Info, input: Annotated[RevokeApiKeyInput, strawberry.argument(description="Which one.")]
) -> ApiKeyPayload:
    """Revoke an API key: from now on it opens nothing, and its open WebSockets are closed. Needs MANAGE_ACCESS."""
    try:
        principal = await info.context.principal()
        revoked = await revoke_api_key(key_at(input.id, "key"), principal)
    except Refusal as refusal:
        return ApiKeyPayload(api_key=None, user_errors=user_errors(refusal))
    note_access_changed(info, input.id)
    return ApiKeyPayload(api_key=ApiKey.of(revoked), user_errors=[])


def _grants(given: list[GrantInput]) -> tuple[GrantValues, ...]:
    return tuple(grant.values() for grant in given)


def _limits(info: Info) -> RoleLimits:
    settings = info.context.parts.settings
    return RoleLimits(settings.max_grant_patterns, settings.max_grant_templates)


def note_access_changed(info: Info, id: str) -> None:
    """Carried out; and what is open in this process is looked at again at once."""
    note_carried_out(info, id)
    info.context.parts.key_watch.look()


def key_at(text: str, kind: str, field: str = "id") -> UUID:
    """The key in a public id of this kind. Raises NotFound, at `field`, where it is none."""
    key = key_of(text, kind)
    if key is None:
        raise NotFound("There is nothing with this id.", field=(field,))
    return key

"""Inputs, queries and mutations of sender domains: DKIM keys, and the check of what is published."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import strawberry

from app.access.policy import allows, require_for_all, sees_service
from app.access.principal import SEES_SERVICE, Action, Principal
from app.database.key import public_id
from app.domains import models
from app.domains.check import check_domain, server_of
from app.domains.domain import sender_domain
from app.domains.manage import (
    activate_dkim_key,
    delete_dkim_key,
    generate_dkim_key,
    get_dkim_key,
    import_dkim_key,
    list_dkim_keys,
    no_such_key,
    retire_dkim_key,
)
from app.domains.models import DkimAlgorithm
from app.errors import ErrorCode, NotFound, Refusal
from app.graphql.context import Info, note_carried_out
from app.graphql.domain_types import DkimKey, DomainCheck
from app.graphql.paging import After, First, key_of, page
from app.graphql.types import Connection, UserError, user_errors
from app.outbound.dns import LookUp, bounded, dns_look_up
from app.services.manage import find_service
from app.settings import Settings

KIND = "dkim"


@strawberry.input(description="A new DKIM key.")
class GenerateDkimKeyInput:
    domain: str = strawberry.field(description="The domain whose mail it is to sign, or an address of it.")
    selector: str = strawberry.field(description="Its name within the domain, for example 2026-11.")
    algorithm: DkimAlgorithm = strawberry.field(default=DkimAlgorithm.RSA, description="How it is to sign.")
    subdomains: bool = strawberry.field(
        default=False, description="Whether it also signs mail of subdomains that have no active key of their own."
    )


@strawberry.input(description="A DKIM key made elsewhere.")
class ImportDkimKeyInput:
    domain: str = strawberry.field(description="The domain whose mail it is to sign, or an address of it.")
    selector: str = strawberry.field(description="Its name within the domain.")
    private_key: str = strawberry.field(
        description="PEM text without a pass phrase: RSA of 2048 to 4096 bits, or Ed25519. Sealed, and never readable."
    )
    subdomains: bool = strawberry.field(
        default=False, description="Whether it also signs mail of subdomains that have no active key of their own."
    )


@strawberry.input(description="Which key is to sign from now on.")
class ActivateDkimKeyInput:
    id: strawberry.ID = strawberry.field(description="The key's id.")
    force: bool = strawberry.field(default=False, description="Also where its record is not in the DNS.")


@strawberry.input(description="Which key is to sign no more.")
class RetireDkimKeyInput:
    id: strawberry.ID = strawberry.field(description="The key's id.")


@strawberry.input(description="Which key to delete.")
class DeleteDkimKeyInput:
    id: strawberry.ID = strawberry.field(description="The key's id.")


@strawberry.type(description="The key as it is now, or why nothing changed.")
class DkimKeyPayload:
    dkim_key: DkimKey | None = strawberry.field(description="The key.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


@strawberry.type(description="The id of the deleted key, or why it is still there.")
class DeleteDkimKeyPayload:
    deleted_dkim_key_id: strawberry.ID | None = strawberry.field(description="The id it had.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


def sees_keys(principal: Principal) -> bool:
    """Whether the principal may read the keys, their private halves excepted: they are of no service."""
    return any(allows(principal, action, None) for action in SEES_SERVICE)


async def dkim_keys(
    info: Info,
    first: First,
    after: After = None,
    domain: Annotated[str | None, strawberry.argument(description="Only those of this domain.")] = None,
) -> Connection[DkimKey]:
    """The DKIM keys, in the order they were made. Needs READ_SERVICES or MANAGE_SERVICES on all services."""
    principal = await info.context.principal()
    if not sees_keys(principal):
        require_for_all(principal, Action.READ_SERVICES)
    name = None if domain is None else sender_domain(domain)

    async def load(after: UUID | None, limit: int) -> list[models.DkimKey]:
        return await list_dkim_keys(name, after, limit)

    return await page(first, after, KIND, load, DkimKey.of)


async def key_node(key: UUID) -> DkimKey | None:
    """The key with this key. Whether the API key may see it is checked before."""
    try:
        return DkimKey.of(await get_dkim_key(key))
    except NotFound:
        return None


async def check(
    info: Info,
    service: Annotated[str, strawberry.argument(description="The service the mail leaves through, in any case.")],
    domain: Annotated[str, strawberry.argument(description="The domain of From, or an address of it.")],
) -> DomainCheck:
    """Ask the DNS whether mail from a domain through a service passes SPF, DKIM and DMARC, and what to publish. Needs
    READ_SERVICES or MANAGE_SERVICES on the service."""
    principal = await info.context.principal()
    found = await find_service(service)
    if found is None or not sees_service(principal, found.id):
        raise NotFound("There is no such service.", code=ErrorCode.SERVICE_NOT_FOUND, field=("service",))
    settings = info.context.parts.settings
    look_up = bounded(_look_up(settings), settings.check_domain_timeout)
    return DomainCheck.of(await check_domain(sender_domain(domain), server_of(found), look_up))


async def generate(
    info: Info, input: Annotated[GenerateDkimKeyInput, strawberry.argument(description="The key.")]
) -> DkimKeyPayload:
    """Make a DKIM key; it signs once it is published and activated. Needs MANAGE_SERVICES on all services."""

    async def make(by: Principal) -> models.DkimKey:
        given, sealer = (input.domain, input.selector, input.algorithm), info.context.parts.sealer
        return await generate_dkim_key(*given, by, sealer, subdomains=input.subdomains)

    return await _carried_out(info, make)


async def import_key(
    info: Info, input: Annotated[ImportDkimKeyInput, strawberry.argument(description="The key.")]
) -> DkimKeyPayload:
    """Store a DKIM key made elsewhere; it signs once it is activated. Needs MANAGE_SERVICES on all services."""

    async def store(by: Principal) -> models.DkimKey:
        given, sealer = (input.domain, input.selector, input.private_key), info.context.parts.sealer
        return await import_dkim_key(*given, by, sealer, subdomains=input.subdomains)

    return await _carried_out(info, store)


async def activate(
    info: Info, input: Annotated[ActivateDkimKeyInput, strawberry.argument(description="Which one.")]
) -> DkimKeyPayload:
    """Let a key sign the mail of its domain from now on, in place of the one of the same algorithm that did, which is
    retired: leave its record published until the mail it signed has arrived. A key whose record is not in the DNS is
    refused (WRONG_STATE), unless by force. Needs MANAGE_SERVICES on all services."""

    async def change(by: Principal) -> models.DkimKey:
        look_up = _look_up(info.context.parts.settings)
        return await activate_dkim_key(_key(input.id), by, look_up, force=input.force)

    return await _carried_out(info, change)


async def retire(
    info: Info, input: Annotated[RetireDkimKeyInput, strawberry.argument(description="Which one.")]
) -> DkimKeyPayload:
    """Let a key sign no more. Without another active key the mail of its domain leaves unsigned. Needs MANAGE_SERVICES
    on all services."""

    async def change(by: Principal) -> models.DkimKey:
        return await retire_dkim_key(_key(input.id), by)

    return await _carried_out(info, change)


async def delete(
    info: Info, input: Annotated[DeleteDkimKeyInput, strawberry.argument(description="Which one.")]
) -> DeleteDkimKeyPayload:
    """Delete a key that is not active; an active one is refused (WRONG_STATE). Needs MANAGE_SERVICES on all
    services."""
    try:
        principal = await info.context.principal()
        await delete_dkim_key(_key(input.id), principal)
    except Refusal as refusal:
        return DeleteDkimKeyPayload(deleted_dkim_key_id=None, user_errors=user_errors(refusal))
    note_carried_out(info, input.id)
    return DeleteDkimKeyPayload(deleted_dkim_key_id=input.id, user_errors=[])


async def _carried_out(info: Info, work: Callable[[Principal], Awaitable[models.DkimKey]]) -> DkimKeyPayload:
    """What `work` makes of a key for who asks, or why it refuses."""
    try:
        key = await work(await info.context.principal())
    except Refusal as refusal:
        return DkimKeyPayload(dkim_key=None, user_errors=user_errors(refusal))
    note_carried_out(info, public_id(KIND, key.id))
    return DkimKeyPayload(dkim_key=DkimKey.of(key), user_errors=[])


def _look_up(settings: Settings) -> LookUp:
    return dns_look_up([str(server) for server in settings.dns_servers], settings.dns_port, settings.dns_timeout)


def _key(text: str) -> UUID:
    key = key_of(text, KIND)
    if key is None:
        raise no_such_key()
    return key

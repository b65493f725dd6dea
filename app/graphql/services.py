"""Inputs, queries and mutations of services."""

from typing import Annotated, cast
from uuid import UUID

import strawberry

from app.access.policy import require, sees_service
from app.access.principal import SEES_SERVICE, Action
from app.clock import now
from app.database.key import public_id
from app.errors import ErrorCode, NotFound, Refusal
from app.graphql.changes import given_changes
from app.graphql.context import Info, note_carried_out
from app.graphql.paging import After, First, key_of, page
from app.graphql.service_type import Service
from app.graphql.types import Connection, UserError, user_errors
from app.outbound.smtp import smtp_guard
from app.queue.forgive import forgive_outage
from app.queue.pause import pause_service, resume_service
from app.queue.remove import remove_service
from app.services import models
from app.services.check import ServiceValues
from app.services.manage import (
    ServiceChanges,
    create_service,
    find_service,
    get_service,
    list_services,
    update_service,
)
from app.services.models import ServiceKind
from app.services.oauth2 import OAuth2Grant, OAuth2Values
from app.services.providers import ProviderName
from app.smtp.server import Encryption


@strawberry.input(description="How a service gets its access tokens, for AUTH XOAUTH2 instead of a password.")
class OAuth2Input:
    grant: OAuth2Grant = strawberry.field(description="By what right tokens are issued.")
    client_id: str = strawberry.field(description="The application's id; of a service account its address.")
    tenant: str | None = strawberry.field(
        default=None, description="Microsoft's tenant: its id or a domain; common when absent, for a refresh token."
    )
    scope: str | None = strawberry.field(default=None, description="What to ask for; the grant's default when absent.")
    token_endpoint: str | None = strawberry.field(
        default=None, description="Who issues tokens, an https URL; the provider's when absent."
    )
    client_secret: str | None = strawberry.field(default=None, description="Sealed, and never readable.")
    refresh_token: str | None = strawberry.field(
        default=None, description="Sealed, and never readable; replaced when the endpoint replaces it."
    )
    private_key: str | None = strawberry.field(
        default=None, description="Of a service account: private_key of its JSON key, PEM. Sealed, and never readable."
    )


@strawberry.input(description="A new service. An SMTP service needs a host; a SANDBOX service takes no server.")
class CreateServiceInput:
    name: str = strawberry.field(description="1 to 40 letters, digits, _ and -; stored in lower case.")
    kind: ServiceKind = strawberry.field(default=ServiceKind.SMTP, description="A real server, or the built-in inbox.")
    label: str | None = strawberry.field(default=None, description="A name for people.")
    description: str | None = strawberry.field(default=None, description="What it is for.")
    is_active: bool = strawberry.field(default=True, description="An inactive service takes no mail.")
    provider: ProviderName | None = strawberry.field(
        default=None,
        description="Fills in what is left out: host, port and encryption (these two only where neither is given),"
        " limits, and the user name where all its customers have the same. What is given counts, whatever it says.",
    )
    region: str | None = strawberry.field(default=None, description="The provider's region, where it has several.")
    host: str | None = strawberry.field(default=None, description="Host name or IP address of the SMTP server.")
    port: int | None = strawberry.field(default=None, description="TCP port; 587 when absent, 465 with SSL.")
    encryption: Encryption | None = strawberry.field(
        default=None, description="How the connection is protected; TLS when absent."
    )
    username: str | None = strawberry.field(
        default=None, description="User name for AUTH; needs a password, or oauth2."
    )
    password: str | None = strawberry.field(default=None, description="Password for AUTH; sealed, and never readable.")
    ses_secret_access_key: str | None = strawberry.field(
        default=None,
        description="For AMAZON_SES, instead of the password: the secret access key of an IAM user, whose access key id"
        " is the user name. The password for the region is derived from it; the key itself is not stored.",
    )
    oauth2: OAuth2Input | None = strawberry.field(
        default=None, description="Access tokens instead of a password; username is the address of the mailbox."
    )
    clear_text_auth: bool = strawberry.field(
        default=False,
        description="Allow AUTH without TLS to another machine: the password can then be read on the way.",
    )
    trusted_ca: str | None = strawberry.field(
        default=None,
        description="PEM certificates of authorities to trust for this service, besides those trusted for all.",
    )
    from_email: str | None = strawberry.field(default=None, description="Sender of mail that names none.")
    from_name: str | None = strawberry.field(default=None, description="Display name of that sender.")
    reply_to_email: str | None = strawberry.field(default=None, description="Reply-To of mail that names none.")
    reply_to_name: str | None = strawberry.field(default=None, description="Display name of that Reply-To.")
    respond_async: bool = strawberry.field(
        default=False,
        description="The REST route answers 202 at once, as if every request preferred it, and does not wait for the "
        "verdict.",
    )
    max_connections: int | None = strawberry.field(
        default=None, description="Connections at a time; the server's setting when absent."
    )
    max_recipients_per_transaction: int | None = strawberry.field(
        default=None,
        description="A mail to more recipients goes out in several transactions; the server's setting when absent.",
    )
    messages_per_second: float | None = strawberry.field(
        default=None, description="Mail leaves no faster, evenly spaced; 0.2 is one every five seconds."
    )
    recipients_per_minute: int | None = strawberry.field(default=None, description="At most so many in any minute.")
    recipients_per_hour: int | None = strawberry.field(default=None, description="At most so many in any hour.")
    recipients_per_day: int | None = strawberry.field(default=None, description="At most so many in any 24 hours.")
    fallbacks: list[str] = strawberry.field(
        default_factory=list,
        description="Names of services by which its mail leaves while its own server cannot be talked to, in this "
        "order; of the same kind, and with MANAGE_SERVICES on each. Mail leaves only by those with which its role may "
        "send it, too.",
    )


@strawberry.input(description="Changes of a service. What is absent stays; null clears.")
class UpdateServiceInput:
    id: strawberry.ID = strawberry.field(description="The service's id.")
    name: strawberry.Maybe[str | None] = strawberry.field(default=None, description="The new name.")
    label: strawberry.Maybe[str | None] = strawberry.field(default=None, description="A name for people.")
    description: strawberry.Maybe[str | None] = strawberry.field(default=None, description="What it is for.")
    is_active: strawberry.Maybe[bool | None] = strawberry.field(default=None, description="Whether it takes mail.")
    provider: strawberry.Maybe[ProviderName | None] = strawberry.field(
        default=None, description="The provider to remember. Nothing is filled in."
    )
    region: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Its region, to remember.")
    host: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Host of the SMTP server.")
    port: strawberry.Maybe[int | None] = strawberry.field(default=None, description="TCP port; null: the default.")
    encryption: strawberry.Maybe[Encryption | None] = strawberry.field(
        default=None, description="How the connection is protected; null: TLS."
    )
    username: strawberry.Maybe[str | None] = strawberry.field(default=None, description="User name for AUTH.")
    password: strawberry.Maybe[str | None] = strawberry.field(
        default=None,
        description="Password for AUTH. A stored one has to be given again with a new host, port or encryption, "
        "to allow clearTextAuth, and with another trustedCa.",
    )
    ses_secret_access_key: strawberry.Maybe[str | None] = strawberry.field(
        default=None, description="For AMAZON_SES: the password is derived from this key for the region, and replaced."
    )
    oauth2: strawberry.Maybe[OAuth2Input | None] = strawberry.field(
        default=None,
        description="Access tokens instead of a password, which it replaces. Given as a whole, with its secrets; a"
        " stored one has to be given again where a password would have to be.",
    )
    clear_text_auth: strawberry.Maybe[bool | None] = strawberry.field(
        default=None, description="Allow AUTH without TLS to another machine."
    )
    trusted_ca: strawberry.Maybe[str | None] = strawberry.field(
        default=None,
        description="PEM certificates of authorities to trust for this service, besides those trusted for all.",
    )
    from_email: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Default sender.")
    from_name: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Its display name.")
    reply_to_email: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Default Reply-To.")
    reply_to_name: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Its display name.")
    respond_async: strawberry.Maybe[bool] = strawberry.field(
        default=None, description="Whether the REST route answers 202 at once, without waiting for the verdict."
    )
    max_connections: strawberry.Maybe[int | None] = strawberry.field(
        default=None, description="Connections at a time; null: the server's setting."
    )
    max_recipients_per_transaction: strawberry.Maybe[int | None] = strawberry.field(
        default=None, description="A mail to more goes out in several transactions; null: the server's setting."
    )
    messages_per_second: strawberry.Maybe[float | None] = strawberry.field(
        default=None, description="Mail leaves no faster, evenly spaced; null: no limit."
    )
    recipients_per_minute: strawberry.Maybe[int | None] = strawberry.field(
        default=None, description="At most so many in any minute; null: no limit."
    )
    recipients_per_hour: strawberry.Maybe[int | None] = strawberry.field(
        default=None, description="At most so many in any hour; null: no limit."
    )
    recipients_per_day: strawberry.Maybe[int | None] = strawberry.field(
        default=None, description="At most so many in any 24 hours; null: no limit."
    )
    fallbacks: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None, description="Names of all its fallbacks, in order; null: none. New ones need MANAGE_SERVICES."
    )


@strawberry.input(description="Which service to delete.")
class DeleteServiceInput:
    id: strawberry.ID = strawberry.field(description="The service's id.")
    cancel_unsent: bool = strawberry.field(
        default=False, description="Cancel its unsent mail; without this, a service with unsent mail stays."
    )


@strawberry.input(description="Which service to pause, and why.")
class PauseServiceInput:
    id: strawberry.ID = strawberry.field(description="The service's id.")
    reason: str = strawberry.field(description="Why; shown as pausedReason.")


@strawberry.input(description="Which service to resume.")
class ResumeServiceInput:
    id: strawberry.ID = strawberry.field(description="The service's id.")


@strawberry.type(description="The service as it is now, or why nothing changed.")
class ServicePayload:
    service: Service | None = strawberry.field(description="The service.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


@strawberry.type(description="The id of the deleted service, or why it is still there.")
class DeleteServicePayload:
    deleted_service_id: strawberry.ID | None = strawberry.field(description="The id it had.")
    cancelled_recipients: int = strawberry.field(description="How many recipients of unsent mail were cancelled.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


async def service(
    info: Info, name: Annotated[str, strawberry.argument(description="The service's name, in any case.")]
) -> Service | None:
    """The service; null when there is none, or the API key has neither READ_SERVICES nor MANAGE_SERVICES on it."""
    principal = await info.context.principal()
    found = await find_service(name)
    return Service.of(found) if found and sees_service(principal, found.id) else None


async def services(info: Info, first: First, after: After = None) -> Connection[Service]:
    """The services on which the API key has READ_SERVICES or MANAGE_SERVICES, in the order they were made."""
    scope = await info.context.scope(*SEES_SERVICE)

    async def load(after: UUID | None, limit: int) -> list[models.Service]:
        return await list_services(after, limit, scope)

    return await page(first, after, "svc", load, Service.of)


async def create(
    info: Info, input: Annotated[CreateServiceInput, strawberry.argument(description="The service.")]
) -> ServicePayload:
    """Make a service. Needs MANAGE_SERVICES on all services."""
    try:
        principal = await info.context.principal()
        settings, sealer = info.context.parts.settings, info.context.parts.sealer
        most, guard = settings.max_trusted_ca_chars, smtp_guard(settings)
        values = ServiceValues(**{**vars(input), "oauth2": _oauth2(input.oauth2)})
        made = await create_service(values, principal, sealer, max_trusted_ca_chars=most, guard=guard)
    except Refusal as refusal:
        return ServicePayload(service=None, user_errors=user_errors(refusal))
    note_carried_out(info, public_id("svc", made.id))
    return ServicePayload(service=Service.of(made), user_errors=[])


async def update(
    info: Info, input: Annotated[UpdateServiceInput, strawberry.argument(description="The changes.")]
) -> ServicePayload:
    """Change a service; mail that waits for it leaves with the new values. One that isManaged is refused
    (MANAGED_BY_ENVIRONMENT). Needs MANAGE_SERVICES on it."""
    try:
        principal = await info.context.principal()
        key = _key(input.id)
        require(principal, Action.MANAGE_SERVICES, key)
        found = await get_service(key)
        given = given_changes(input, "name", "is_active", "clear_text_auth")
        if "oauth2" in given:
            given["oauth2"] = _oauth2(given["oauth2"])
        changes = cast(ServiceChanges, given)
        settings, sealer = info.context.parts.settings, info.context.parts.sealer
        most, guard = settings.max_trusted_ca_chars, smtp_guard(settings)
        changed = await update_service(
            found, changes, principal, sealer, forgive=forgive_outage, max_trusted_ca_chars=most, guard=guard
        )
    except Refusal as refusal:
        return ServicePayload(service=None, user_errors=user_errors(refusal))
    note_carried_out(info, input.id)
    return ServicePayload(service=Service.of(changed), user_errors=[])


async def delete(
    info: Info, input: Annotated[DeleteServiceInput, strawberry.argument(description="Which one.")]
) -> DeleteServicePayload:
    """Delete a service. The messages sent through it stay readable, for those who may read the mail of all services;
    the mail that a SANDBOX service captured is deleted with it. One that isManaged is refused (MANAGED_BY_ENVIRONMENT).
    Needs MANAGE_SERVICES on all services, and on this one."""
    try:
        principal = await info.context.principal()
        grace = info.context.parts.settings.lease_grace
        cancelled = await remove_service(
            _key(input.id), principal, now(), cancel_unsent=input.cancel_unsent, grace=grace
        )
    except Refusal as refusal:
        return DeleteServicePayload(deleted_service_id=None, cancelled_recipients=0, user_errors=user_errors(refusal))
    note_carried_out(info, input.id)
    return DeleteServicePayload(deleted_service_id=input.id, cancelled_recipients=cancelled, user_errors=[])


async def pause(
    info: Info, input: Annotated[PauseServiceInput, strawberry.argument(description="Which one, and why.")]
) -> ServicePayload:
    """Pause a service: mail for it is accepted and kept, and nothing is tried until it is resumed; what is being sent
    right now is not stopped. An inactive service, in contrast, takes no mail. Paused again, it gets the new reason.
    Needs MANAGE_SERVICES on it."""
    try:
        principal = await info.context.principal()
        key, most = _key(input.id), info.context.parts.settings.max_pause_reason_chars
        await pause_service(key, input.reason, principal, now(), max_reason_chars=most)
        note_carried_out(info, input.id)
        found = await get_service(key)
    except Refusal as refusal:
        return ServicePayload(service=None, user_errors=user_errors(refusal))
    return ServicePayload(service=Service.of(found), user_errors=[])


async def resume(
    info: Info, input: Annotated[ResumeServiceInput, strawberry.argument(description="Which one.")]
) -> ServicePayload:
    """End the pause of a service: its mail that is due leaves. If its circuit is open, a probe goes at once; after a
    refused AUTH, as soon as that may be tried again. Does nothing to any other service. Needs MANAGE_SERVICES on it."""
    try:
        principal = await info.context.principal()
        key = _key(input.id)
        await resume_service(key, principal, now())
        note_carried_out(info, input.id)
        found = await get_service(key)
    except Refusal as refusal:
        return ServicePayload(service=None, user_errors=user_errors(refusal))
    return ServicePayload(service=Service.of(found), user_errors=[])


def _oauth2(given: OAuth2Input | None) -> OAuth2Values | None:
    return OAuth2Values(**vars(given)) if given else None


def _key(text: str) -> UUID:
    key = key_of(text, "svc")
    if key is None:
        raise NotFound("There is no such service.", code=ErrorCode.SERVICE_NOT_FOUND, field=("id",))
    return key

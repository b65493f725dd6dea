"""Make, change and find services.

What changes something takes the principal who asks, `by`; None is the operator at the machine, who may do everything.
Removing a service is in app/queue, because it has to look at unsent mail.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from tortoise.exceptions import IntegrityError

from app import clock
from app.access.policy import ServiceScope, require, require_manage
from app.access.principal import Action, Principal
from app.audit.record import AuditAction, record
from app.database.connection import transaction
from app.errors import Conflict, ErrorCode, InvalidInput, NotFound
from app.limits.counter import forget_free_at
from app.outbound.guard import Guard
from app.services.access_token import forget_token
from app.services.announced import forget_announced_size
from app.services.check import ServiceValues, check_service, in_stored_form, is_service_name
from app.services.circuit import forget_circuit, require_proof
from app.services.facts import service_facts, service_subject
from app.services.fallbacks import fallback_ids
from app.services.fill import filled_in
from app.services.models import Service
from app.services.oauth2 import OAuth2Values
from app.services.sealed_columns import SEALED_COLUMNS, bound_to
from app.services.secret import Sealer

Forgive = Callable[[UUID, datetime, datetime], Awaitable[None]]
"""Keeps the outage of a service, from a moment to a moment, from counting against its mail: `queue.forgive`."""

_SECRETS = ("password", "password_kept", "ses_secret_access_key", "oauth2", "oauth2_kept")
_COLUMNS = tuple(value.name for value in fields(ServiceValues) if value.name not in _SECRETS)


_OAUTH2_TEXTS = ("grant", "client_id", "tenant", "scope", "token_endpoint")
_OAUTH2_SECRETS = ("client_secret", "refresh_token", "private_key")
_OAUTH2_COLUMNS = tuple(f"oauth2_{name}" for name in _OAUTH2_TEXTS)


class ServiceChanges(TypedDict, total=False):
    """What to change of a service; what is absent stays, None clears (for `port` and `encryption`: the default).

    The kind never changes: what was captured in a sandbox is another thing than what left.
    """

    name: str
    label: str | None
    description: str | None
    is_active: bool
    provider: str | None
    region: str | None
    host: str | None
    port: int | None
    encryption: str | None
    username: str | None
    password: str | None
    ses_secret_access_key: str | None
    oauth2: OAuth2Values | None
    clear_text_auth: bool
    trusted_ca: str | None
    from_email: str | None
    from_name: str | None
    reply_to_email: str | None
    reply_to_name: str | None
    respond_async: bool
    max_connections: int | None
    max_recipients_per_transaction: int | None
    messages_per_second: float | None
    recipients_per_minute: int | None
    recipients_per_hour: int | None
    recipients_per_day: int | None
    fallbacks: Sequence[str] | None


async def create_service(
    values: ServiceValues,
    by: Principal | None,
    sealer: Sealer,
    *,
    max_trusted_ca_chars: int | None = None,
    guard: Guard | None = None,
    now: Callable[[], datetime] = clock.now,
) -> Service:
    """The new service, its password sealed; what `values` leave out is filled in from its provider. Credentials are
    proven by one connection before more are made. Needs MANAGE_SERVICES for all services, and for each fallback.

    Raises Forbidden, InvalidInput with every problem, Conflict NAME_TAKEN.
    """
    require_manage(by, Action.MANAGE_SERVICES)
    values = filled_in(values)
    _refuse_problems(values, max_trusted_ca_chars, guard)
    values = replace(values, fallbacks=await fallback_ids(values.fallbacks or (), values.kind, by))
    service = Service(version=0, created_at=now())
    async with _unique_name(service.id, values.name), transaction():
        await insert_service(service, values, sealer)
        subject = service_subject(service)
        await record(by, AuditAction.CREATE_SERVICE, subject, service.created_at, after=service_facts(service))
    return service


async def update_service(
    service: Service,
    changes: ServiceChanges,
    by: Principal | None,
    sealer: Sealer,
    *,
    forgive: Forgive,
    max_trusted_ca_chars: int | None = None,
    guard: Guard | None = None,
    now: Callable[[], datetime] = clock.now,
) -> Service:
    """The service as changed, read again before; its version has grown. Needs MANAGE_SERVICES for this service.

    User name and password, or oauth2, are both set or both cleared; what is absent from `changes` stays, and a new
    password takes the place of oauth2, or the other way round. A new host,
    port or encryption, another trusted authority, and leave to authenticate in clear text, need the secrets again:
    otherwise who may change a service could have its password sent to a server of theirs, or shown to the network. What
    was known against the old server or credentials does not count any more: the new ones are tried at once, and an
    outage until then is told to `forgive`, inside the transaction. Another provider or region is remembered, and fills
    nothing in.
    New limits count from now on. A host and port that stay are held to the guard only when they are connected to, so
    that everything else can be changed. Raises Forbidden, NotFound, InvalidInput with every problem, Conflict
    NAME_TAKEN or MANAGED_BY_ENVIRONMENT. A fallback that it does not have yet needs MANAGE_SERVICES, too.
    """
    if by is not None:
        require(by, Action.MANAGE_SERVICES, service.id)
    async with _unique_name(service.id, changes.get("name", "")), transaction():
        current = await Service.filter(id=service.id).select_for_update().first()
        if current is None:
            raise NotFound("There is no such service.", code=ErrorCode.SERVICE_NOT_FOUND)
        refuse_managed(current.name, current.is_managed)
        values = changed(current, await _with_fallback_ids(current, changes, by))
        moved = (values.host, values.port) != (current.host, current.port)
        _refuse_problems(values, max_trusted_ca_chars, guard if moved else None)
        _refuse_new_server(current, values)
        before, subject, moment = service_facts(current), service_subject(current), now()
        await replace_service(current, values, sealer, forgive, moment)
        after = service_facts(current)
        await record(by, AuditAction.UPDATE_SERVICE, subject, moment, before=before, after=after)
    return current


async def insert_service(service: Service, values: ServiceValues, sealer: Sealer) -> None:
    """Store the new `service`, made at its `created_at`, with these values, which have no problems. Call it inside a
    transaction. Raises IntegrityError for a name that is taken."""
    await _save(service, values, sealer, service.created_at)
    if service.username is not None:
        await require_proof(service.id, service.created_at)


async def replace_service(
    current: Service, values: ServiceValues, sealer: Sealer, forgive: Forgive, moment: datetime
) -> None:
    """Give the service, which is locked, these values, which have no problems. Call it inside a transaction. Raises
    IntegrityError for a name that is taken."""
    earlier = _server(current)
    await _save(current, values, sealer, moment)
    if _server(current) != earlier:
        await forget_token(current.id)
        await forget_announced_size(current)
        forget = forget_circuit(current.id) if current.username is None else require_proof(current.id, moment)
        open_since = await forget
        if open_since is not None:
            await forgive(current.id, open_since, moment)
    await forget_free_at(current.id)


def refuse_managed(name: str, is_managed: bool) -> None:
    """Raise Conflict MANAGED_BY_ENVIRONMENT if the service is. Pure."""
    if is_managed:
        raise Conflict(
            f"The service {name!r} is defined by the environment variables MAIL_*. It is changed there, or here once"
            " the server was started without them.",
            code=ErrorCode.MANAGED_BY_ENVIRONMENT,
            field=("id",),
        )


async def get_service(service_id: UUID) -> Service:
    """Raises NotFound; whether the asker may know is checked before, by `require`."""
    service = await Service.get_or_none(id=service_id)
    if service is None:
        raise NotFound("There is no such service.", code=ErrorCode.SERVICE_NOT_FOUND)
    return service


async def find_service(name: str) -> Service | None:
    """The service of this name, in any case."""
    return await Service.get_or_none(name=name.lower()) if is_service_name(name) else None


async def list_services(after: UUID | None, limit: int, scope: ServiceScope) -> list[Service]:
    """At most `limit` services of the scope, in the order they were made, from the one behind `after`."""
    query = Service.exclude(id__in=scope.service_ids) if scope.all else Service.filter(id__in=scope.service_ids)
    if after is not None:
        query = query.filter(id__gt=after)
    return await query.order_by("id").limit(limit)


def changed(service: Service, changes: ServiceChanges) -> ServiceValues:
    """The whole service as it would be after `changes`. Pure."""
    current = {column: getattr(service, column) for column in _COLUMNS}
    new_password = bool(changes.get("password") or changes.get("ses_secret_access_key"))
    kept = {
        "password_kept": service.sealed_password is not None
        and not (new_password or "password" in changes or changes.get("oauth2")),
        "oauth2_kept": service.oauth2_grant is not None and not (new_password or "oauth2" in changes),
    }
    return ServiceValues(**{**current, **changes, **kept})


def has_values(service: Service, values: ServiceValues) -> bool:
    """Whether the service has these values, which have no problems; but for the password. Pure."""
    stored = in_stored_form(values)
    if (service.oauth2_grant is not None) is not values.oauth2_kept:
        return False
    return all(getattr(service, column) == getattr(stored, column) for column in _COLUMNS)


async def _with_fallback_ids(service: Service, changes: ServiceChanges, by: Principal | None) -> ServiceChanges:
    if "fallbacks" not in changes:
        return changes
    kept = service.fallbacks or ()
    keys = await fallback_ids(changes["fallbacks"] or (), service.kind, by, service.id, kept)
    return {**changes, "fallbacks": keys}


def _server(service: Service) -> tuple[object, ...]:
    """What decides whether a session can be had. A password given again is sealed anew, and so another one."""
    return (
        service.host,
        service.port,
        service.encryption,
        service.username,
        *(getattr(service, column) for column in (*SEALED_COLUMNS, *_OAUTH2_COLUMNS)),
        service.clear_text_auth,
        service.trusted_ca,
    )


def _refuse_problems(values: ServiceValues, max_trusted_ca_chars: int | None, guard: Guard | None) -> None:
    problems = check_service(values, max_trusted_ca_chars, guard)
    if problems:
        raise InvalidInput(problems=problems)


def _refuse_new_server(current: Service, values: ServiceValues) -> None:
    """A password that stays goes to the same server, no less protected; so does a token."""
    if not values.password_kept and not values.oauth2_kept:
        return
    stored = in_stored_form(values)
    moved = (stored.host, stored.port, stored.encryption) != (current.host, current.port, current.encryption)
    weaker = stored.clear_text_auth and not current.clear_text_auth
    if moved or weaker or stored.trusted_ca not in (None, current.trusted_ca):
        what = "password" if values.password_kept else "oauth2"
        message = f"The stored {what} is for another host, port, encryption or authority; give it again."
        raise InvalidInput(message, field=(what,))


@asynccontextmanager
async def _unique_name(service_id: UUID, name: str) -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        if await Service.filter(name=name.lower()).exclude(id=service_id).exists():
            message = f"There is a service named {name.lower()!r} already."
            raise Conflict(message, code=ErrorCode.NAME_TAKEN, field=("name",)) from None
        raise


async def _save(service: Service, values: ServiceValues, sealer: Sealer, moment: datetime) -> None:
    stored = in_stored_form(values)
    service.update_from_dict({column: getattr(stored, column) for column in _COLUMNS})
    service.sealed_password = _sealed_password(service, stored, sealer)
    if not stored.oauth2_kept:
        _set_oauth2(service, stored.oauth2, sealer)
    service.version += 1
    service.updated_at = moment
    await service.save()


def _sealed_password(service: Service, stored: ServiceValues, sealer: Sealer) -> str | None:
    if stored.password_kept:
        return service.sealed_password
    return sealer.seal(stored.password, service.id) if stored.password else None


def _set_oauth2(service: Service, values: OAuth2Values | None, sealer: Sealer) -> None:
    """All of it; None clears all."""
    for name, column in zip(_OAUTH2_TEXTS, _OAUTH2_COLUMNS, strict=True):
        setattr(service, column, getattr(values, name, None) or None)
    for name in _OAUTH2_SECRETS:
        column, secret = f"sealed_{name}", getattr(values, name, None)
        setattr(service, column, sealer.seal(secret, bound_to(service.id, column)) if secret else None)

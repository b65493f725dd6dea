"""The service that the environment defines (MAIL_*), and the sender of mail that has no other."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import chain, count

from tortoise.exceptions import IntegrityError

from app import clock
from app.audit.record import ActorKind, AuditAction, record
from app.database.connection import dialect, rows, transaction
from app.errors import Problem
from app.mail.address import check_email
from app.mail.characters import header_breaking
from app.outbound.smtp import smtp_guard
from app.services.check import MAX_DISPLAY_NAME_CHARS, ServiceValues, check_service
from app.services.facts import service_facts, service_subject
from app.services.manage import Forgive, ServiceChanges, changed, has_values, insert_service, replace_service
from app.services.models import Service, ServiceKind
from app.services.secret import Sealer, SealError
from app.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

DEFAULT_SERVICE = "email"
"""The service that MAIL_* define, and that a first start makes where they do not."""

_LOCK = 0x454D41494C  # "EMAIL": whoever defines the service on this PostgreSQL database takes this advisory lock

_VARIABLES = {
    "host": "MAIL_HOST",
    "port": "MAIL_PORT",
    "encryption": "MAIL_ENCRYPTION",
    "username": "MAIL_USERNAME",
    "password": "MAIL_PASSWORD",
}


async def define_service(
    settings: Settings, sealer: Sealer, *, forgive: Forgive, now: Callable[[], datetime] = clock.now
) -> None:
    """Have the service `email` be what MAIL_* say, and managed by them; unless they name no mailer and no host: then
    what they defined before stays as it is, and belongs to the API.

    Every process that serves or delivers calls it when it starts, any number of them at once. A service `email` of
    the same kind is taken over: what MAIL_* do not say stays. One of another kind keeps its mail under another name.
    `forgive`: as for `update_service`. Raises SettingsError, which names the variables.
    """
    check_default_sender(settings)
    values = _defined_values(settings)
    try:
        told = await _bring_about(values, sealer, forgive, now())
    except IntegrityError:  # a name that was free has just been taken through the API
        told = await _bring_about(values, sealer, forgive, now())
    for level, sentence in told:
        logger.log(level, sentence)


def redefined_service(settings: Settings) -> str | None:
    """The service, if any, whose password `define_service` seals anew from MAIL_*. Raises SettingsError. Pure."""
    values = _defined_values(settings)
    return values.name if values is not None and values.kind == ServiceKind.SMTP else None


def check_default_sender(settings: Settings) -> None:
    """Raise SettingsError if MAIL_FROM_ADDRESS or MAIL_FROM_NAME cannot stand in a mail."""
    address, name = settings.mail_from_address, settings.mail_from_name or ""
    if address is not None and check_email(address) is not None:
        raise SettingsError("MAIL_FROM_ADDRESS: it is no email address")
    if len(name) > MAX_DISPLAY_NAME_CHARS or header_breaking(name):
        raise SettingsError(
            f"MAIL_FROM_NAME: a name has at most {MAX_DISPLAY_NAME_CHARS} characters, none of them a control character"
        )


def _defined_values(settings: Settings) -> ServiceValues | None:
    if settings.mail_mailer is None and settings.mail_host is None:
        return None
    if settings.mail_mailer == "log":
        return ServiceValues(name=DEFAULT_SERVICE, kind=ServiceKind.SANDBOX)
    values = ServiceValues(
        name=DEFAULT_SERVICE,
        host=settings.mail_host,
        port=settings.mail_port,
        encryption=settings.mail_encryption.upper() if settings.mail_encryption else None,
        username=settings.mail_username,
        password=settings.mail_password.get_secret_value() if settings.mail_password else None,
    )
    problems = check_service(values, guard=smtp_guard(settings))
    if problems:
        raise SettingsError("; ".join(_sentence(problem) for problem in problems))
    return values


def _sentence(problem: Problem) -> str:
    return f"{_VARIABLES[problem.field[0]]}: {problem.message}"


async def _bring_about(
    values: ServiceValues | None, sealer: Sealer, forgive: Forgive, moment: datetime
) -> list[tuple[int, str]]:
    """What to log, now that it is so."""
    async with transaction():
        if dialect() == "postgres":  # SQLite lets one writer in anyway
            await rows("SELECT 1 FROM pg_advisory_xact_lock($1)", _LOCK)
        return await (_release(moment) if values is None else _define(values, sealer, forgive, moment))


async def _release(moment: datetime) -> list[tuple[int, str]]:
    managed = await Service.filter(is_managed=True).select_for_update()
    await Service.filter(is_managed=True).update(is_managed=False)
    for service in managed:
        before = service_facts(service)
        await _record_update(service, before, before | {"isManaged": False}, moment)
    names = [service.name for service in managed]
    return [(logging.INFO, f"MAIL_* are not set: the service {name!r} is changed through the API") for name in names]


async def _define(values: ServiceValues, sealer: Sealer, forgive: Forgive, moment: datetime) -> list[tuple[int, str]]:
    told = []
    current = await Service.filter(name=values.name).select_for_update().first()
    if current is not None and current.kind != values.kind:
        aside = await _move_aside(current, moment)
        told.append(
            (logging.WARNING, f"MAIL_* define {values.name!r} as {values.kind}: {current.kind} is {aside!r} now")
        )
        current = None
    if current is None:
        await _insert(Service(version=0, created_at=moment, is_managed=True), values, sealer)
    elif not await _take_over(current, values, sealer, forgive, moment):
        return told
    return [*told, (logging.INFO, f"the service {values.name!r} is what MAIL_* define")]


async def _insert(service: Service, values: ServiceValues, sealer: Sealer) -> None:
    await insert_service(service, values, sealer)
    await record(
        ActorKind.ENVIRONMENT,
        AuditAction.CREATE_SERVICE,
        service_subject(service),
        service.created_at,
        after=service_facts(service),
    )


async def _record_update(
    service: Service, before: Mapping[str, object], after: Mapping[str, object], moment: datetime
) -> None:
    await record(
        ActorKind.ENVIRONMENT,
        AuditAction.UPDATE_SERVICE,
        service_subject(service),
        moment,
        before=before,
        after=after,
    )


async def _move_aside(service: Service, moment: datetime) -> str:
    """Give the service, which is locked, a free name: `email-sandbox` or `email-smtp`, with its mail and grants."""
    before, first = service_facts(service), f"{service.name}-{service.kind.lower()}"
    taken = {other.name for other in await Service.filter(name__startswith=first)}
    service.name = next(name for name in chain([first], (f"{first}-{n}" for n in count(2))) if name not in taken)
    service.is_managed = False
    service.version += 1
    service.updated_at = moment
    await service.save()
    await _record_update(service, before, service_facts(service), moment)
    return service.name


async def _take_over(
    current: Service, values: ServiceValues, sealer: Sealer, forgive: Forgive, moment: datetime
) -> bool:
    """Give the service, which is locked, what MAIL_* say; whether anything had to be changed."""
    changes: ServiceChanges = {
        "is_active": True,
        "host": values.host,
        "port": values.port,
        "encryption": values.encryption,
        "username": values.username,
        "oauth2": None,
    }
    if values.host != current.host:
        changes["provider"] = changes["region"] = None
    if values.password != _password(current, sealer):
        changes["password"] = values.password
    whole = changed(current, changes)
    if current.is_managed and "password" not in changes and has_values(current, whole):
        return False
    before = service_facts(current)
    current.is_managed = True
    await replace_service(current, whole, sealer, forgive, moment)
    await _record_update(current, before, service_facts(current), moment)
    return True


def _password(service: Service, sealer: Sealer) -> str | None:
    """The stored password; an empty text, which no password is, for one that cannot be opened any more."""
    if service.sealed_password is None:
        return None
    try:
        return sealer.open(service.sealed_password, service.id)
    except SealError:
        return ""

"""What a new database needs before anyone can use it: an admin role with a key, and a service that works."""

from dataclasses import dataclass

from app.access.api_keys import create_api_key, list_api_keys
from app.access.check import GrantValues, RoleValues
from app.access.manage import create_role
from app.access.models import Role
from app.access.principal import Action
from app.database.connection import transaction
from app.errors import Conflict
from app.services.check import ServiceValues
from app.services.environment import DEFAULT_SERVICE
from app.services.manage import create_service, find_service
from app.services.models import Service, ServiceKind
from app.services.secret import Sealer
from app.settings import Settings

ADMIN_ROLE = "admin"


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What was made. `admin_key` is to be shown once; None when the operator chose it and knows it.

    The service is for a first mail; `has_sender`: mail that names no sender has one all the same.
    """

    admin_key: str | None
    service_name: str
    service_kind: ServiceKind = ServiceKind.SANDBOX
    has_sender: bool = True


async def first_start(settings: Settings, sealer: Sealer) -> FirstStart | None:
    """On a database without any API key: make the role `admin`, its key, and the SANDBOX service `email` unless there
    is one of that name, for example because the environment defines it.

    All of it or nothing: the key is HELIOGRAPH_ADMIN_API_KEY, or random. None when there is a key already, or another
    process was faster. Raises InvalidInput when the chosen key will not do.
    """
    if await list_api_keys(None, 1):
        return None
    chosen = settings.admin_api_key.get_secret_value() if settings.admin_api_key else None
    try:
        async with transaction():
            # The role's unique name lets one process in; the others wait here for it, and then find the name taken.
            role = await _make_role()
            _, key = await create_api_key(role.id, "first admin key", None, None, raw_key=chosen)
            service = await find_service(DEFAULT_SERVICE) or await _make_sandbox(sealer)
    except Conflict:
        return None
    has_sender = bool(service.from_email or settings.mail_from_address)
    return FirstStart(None if chosen else key, service.name, ServiceKind(service.kind), has_sender)


async def _make_role() -> Role:
    grants = (GrantValues(service=None, actions=list(Action)),)
    return await create_role(RoleValues(ADMIN_ROLE, "May do everything.", grants=grants), None)


async def _make_sandbox(sealer: Sealer) -> Service:
    values = ServiceValues(
        name=DEFAULT_SERVICE,
        kind=ServiceKind.SANDBOX,
        label="Sandbox",
        description="Delivers into the built-in inbox; nothing leaves the machine.",
        from_email="heliograph@example.com",
        from_name="Heliograph",
    )
    return await create_service(values, None, sealer)

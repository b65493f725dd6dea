"""The fallbacks of a service: from the names that a client gives to the ids that are stored, and back."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from uuid import UUID

from app.access.policy import allows
from app.access.principal import Action, Principal
from app.errors import ErrorCode, InvalidInput, Problem
from app.mail.characters import shown
from app.services.check import is_service_name
from app.services.models import Service

MAX_FALLBACKS = 5


async def fallback_ids(
    names: Sequence[str], kind: str, by: Principal | None, own_id: UUID | None = None, kept: Collection[str] = ()
) -> list[str] | None:
    """The ids of these services, as a service of this kind with the id `own_id` stores them; None for none.

    `by` needs MANAGE_SERVICES on each but those whose ids are `kept`, which the service has already; None is the
    operator at the machine. Raises InvalidInput with every problem.
    """
    if len(names) > MAX_FALLBACKS:
        message = f"A service has at most {MAX_FALLBACKS} fallbacks."
        raise InvalidInput(problems=[Problem(ErrorCode.INVALID_INPUT, message, ("fallbacks",))])
    wanted = [name.lower() if is_service_name(name) else "" for name in names]
    found = {service.name: service for service in await Service.filter(name__in=wanted)} if wanted else {}
    seen = {
        name: service
        for name, service in found.items()
        if by is None or str(service.id) in kept or allows(by, Action.MANAGE_SERVICES, service.id)
    }
    problems = list(_problems(names, wanted, seen, kind, own_id))
    if problems:
        raise InvalidInput(problems=problems)
    return [str(seen[name].id) for name in wanted] or None


async def service_names(service_ids: Collection[UUID]) -> Mapping[UUID, str]:
    """The names of those of these services that there are."""
    return {service.id: service.name for service in await Service.filter(id__in=set(service_ids))}


def _problems(
    names: Sequence[str], wanted: Sequence[str], seen: Mapping[str, Service], kind: str, own_id: UUID | None
) -> Iterator[Problem]:
    for number, name in enumerate(wanted):
        path, service = ("fallbacks", str(number)), seen.get(name)
        if service is None:
            message = f"Could not find a service for {shown(names[number])}"
            yield Problem(ErrorCode.SERVICE_NOT_FOUND, message, path)
        elif service.id == own_id:
            yield Problem(ErrorCode.INVALID_INPUT, "A service is no fallback of itself.", path)
        elif service.kind != kind:
            message = (
                "What a SANDBOX service takes never leaves, so it and an SMTP service do not stand in for each other."
            )
            yield Problem(ErrorCode.INVALID_INPUT, message, path)
        elif name in wanted[:number]:
            yield Problem(ErrorCode.INVALID_INPUT, "Each fallback is named once.", path)

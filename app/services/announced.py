"""What a service's server announced about itself, the last time it was talked to."""

from functools import lru_cache

from app.database.connection import execute
from app.services.models import Service

_MOST = 2**63 - 1


def is_new_size(service: Service, parameter: str) -> bool:
    """Whether `note_announced_size` would write it down."""
    return bool(_size(parameter) != service.announced_size)


async def note_announced_size(service: Service, parameter: str) -> None:
    """Write down what EHLO said behind SIZE (RFC 1870), empty where it said nothing, if that is new.

    Nothing is written where the service was changed meanwhile: it may have another server.
    """
    announced = _size(parameter)
    if announced != service.announced_size:
        statement = "UPDATE service SET announced_size = $1 WHERE id = $2 AND version = $3"
        await execute(statement, announced, service.id, service.version)
        service.announced_size = announced


@lru_cache
def _size(parameter: str) -> int | None:
    said = parameter.partition(" ")[0]
    size = int(said) if said.isdecimal() and len(said) <= len(str(_MOST)) else 0
    return size if 0 < size <= _MOST else None


async def forget_announced_size(service: Service) -> None:
    """The service has another server. Call it inside the transaction that changes it."""
    if service.announced_size is not None:
        service.announced_size = None
        await execute("UPDATE service SET announced_size = NULL WHERE id = $1", service.id)

"""The services that one process has used lately, so that their next mail asks the database nothing."""

from uuid import UUID

from app.database.revision import Kept, Outdated, read_revision
from app.services.manage import find_service
from app.services.models import Service

_FIELDS = tuple(Service._meta.fields_db_projection)


class KnownServices:
    """Keeps at most so many. What is not there is looked up each time."""

    def __init__(self, most: int) -> None:
        self._named: Kept[str, Service] = Kept(most)
        self._by_id: Kept[UUID, Service] = Kept(most)

    async def named(self, name: str, revision: int) -> Service | None:
        """The service of this name, in any case, at this revision, or a newer one. Raises Outdated where that shows."""
        key = name.lower()
        kept = self._named.get(key, revision)
        if kept is not None:
            return kept
        if await read_revision() != revision:
            raise Outdated
        service = await find_service(name)
        if service is not None:
            self._named.keep(key, service, revision)
        return service

    async def is_same(self, service: Service, revision: int | None) -> bool:
        """Whether it is still what it was, at this revision, or a newer one. Raises Outdated where that shows."""
        now = await self.named(service.name, revision) if revision is not None else None
        return now is not None and all(getattr(now, name) == getattr(service, name) for name in _FIELDS)

    async def of_id(self, service_id: UUID, revision: int | None) -> Service:
        """The service, at this revision, or a newer one; None: as it is stored now. Raises DoesNotExist."""
        if revision is None:
            return await Service.get(id=service_id)
        kept = self._by_id.get(service_id, revision)
        if kept is not None:
            return kept
        number = await read_revision()
        service = await Service.get(id=service_id)
        self._by_id.keep(service_id, service, number)
        return service

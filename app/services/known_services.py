"""The services that one process has used lately, so that their next mail asks the database nothing."""

from uuid import UUID

from app.database.revision import Kept
from app.services.manage import find_service
from app.services.models import Service

_FIELDS = tuple(Service._meta.fields_db_projection)


class KnownServices:
    """Keeps at most so many, each way. What is not there is looked up each time."""

    def __init__(self, most: int) -> None:
        self._named: Kept[str, Service] = Kept(most)
        self._by_number: Kept[int, Service] = Kept(most)
        """By the number that the id is: of that a hash is quickly worked out."""

    async def named(self, name: str, revision: int) -> Service | None:
        """The service of this name, in any case, as of this revision, or newer."""
        key = name.lower()
        service = self._named.get(key, revision)
        if service is None and (service := await find_service(name)) is not None:
            self._named.keep(key, service, revision)
        return service

    def known(self, service_id: UUID, revision: int) -> Service | None:
        """What `of_id` returns, where it is kept."""
        return self._by_number.get(service_id.int, revision)

    async def of_id(self, service_id: UUID, revision: int | None) -> Service:
        """The service, as of this revision, or newer; None: as it is stored now. Raises DoesNotExist."""
        service = None if revision is None else self._by_number.get(service_id.int, revision)
        if service is None:
            service = await Service.get(id=service_id)
            if revision is not None:
                self._by_number.keep(service_id.int, service, revision)
        return service

    async def is_same(self, service: Service, revision: int) -> bool:
        """Whether the service is still what it was, as of this revision, or newer."""
        now = await self.named(service.name, revision)
        return now is not None and all(getattr(now, name) == getattr(service, name) for name in _FIELDS)

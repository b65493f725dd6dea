"""How many mails a server may have while nobody has written that down: a process that dies then leaves them to be sent
again."""

import asyncio
from typing import Self
from uuid import UUID

from app.smtp.places import Places


class Unsettled:
    """Of each service as many as it has connections, however many mails go behind each other on them."""

    def __init__(self) -> None:
        self._places: dict[UUID, Places] = {}

    @property
    def are_full(self) -> bool:
        """Whether a service has as many as it may: its next mail waits for one of their results."""
        return any(places.is_full for places in self._places.values())

    def slot(self, service_id: UUID) -> "Slot":
        """For the transactions of one attempt."""
        places = self._places.get(service_id)
        if places is None:
            places = self._places[service_id] = Places(1)
        return Slot(places)


class Slot:
    """Taken before the end of the content is sent, freed once the result is written, at the latest with the block."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._is_taken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    async def take(self, at_most: int) -> None:
        """Wait until fewer than `at_most` are taken, first come, first served; it is taken once."""
        if self._is_taken:
            return
        self._places.resize(at_most)
        if self._places.take():
            self._is_taken = True
            return
        visitor = self._places.ask()
        try:
            await visitor.given
        except asyncio.CancelledError:
            if not visitor.given.cancelled():
                self._places.free()  # it was given in the same moment
            raise
        self._is_taken = True

    def free(self) -> None:
        """Let the next one have it, if it was taken."""
        if self._is_taken:
            self._is_taken = False
            self._places.free()

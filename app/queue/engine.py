"""Engine: what says "try message N now". The rows are the truth; an engine that calls twice does no harm."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from app.database.insert import Insert, Rows

Handle = Callable[[UUID], Coroutine[Any, Any, None]]


class Priority(IntEnum):
    """Of what is due for one service, the lower number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Job(Struct, frozen=True):
    """A message that wants an attempt at `due_at`. Lower `priority` goes first."""

    message_id: UUID
    service_id: UUID
    due_at: datetime
    priority: int


class Engine(Protocol):
    """Both engines keep this, and one conformance suite holds them to it."""

    def rows_of(self, jobs: Sequence[Job]) -> tuple[Insert, Rows] | None:
        """What makes the jobs of new messages, to be inserted with them; None: they have to be submitted after that."""

    async def submit(self, jobs: Sequence[Job]) -> None:
        """Remember the jobs, inside the caller's open transaction: they exist if and only if it commits."""

    async def run(self, handle: Handle, stop: asyncio.Event) -> None:
        """Call `handle(message id)` for every due message, side by side and never twice at once for one message,
        until `stop` is set; then wait for the calls under way. Cancelling it cancels them.

        Trouble does not end it: it logs what a call or the database raises, and goes on after a pause."""

    def services_changed(self, caps: Mapping[UUID, int]) -> None:
        """How many messages of each service may be handled side by side, each on a connection of its own; a service not
        named has none."""

    def places_ahead(self, places: Mapping[UUID, int]) -> None:
        """Of these services so many messages more may be handled, which wait for a connection. Their places may stay
        free for a while, to be filled at once: with mail that is claimed together. An engine need not heed it."""

    def connections(self, service_id: UUID) -> int | None:
        """How many connections of the service may be in use here by what is handled now; None: all that it has."""

    async def depth(self) -> Mapping[UUID, int]:
        """Per service, how many messages wait or are being sent."""

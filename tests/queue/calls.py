"""What an engine calls for due mail, and how a test knows of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from app.clock import now
from app.database.connection import rows
from app.database.key import new_key
from app.queue.claim import claim_message
from app.queue.engine import Engine, Handle
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.circuit import CircuitPolicy

NEVER = 3600.0
"""A poll interval that no test outlives: what happens, happens because the engine was woken."""


class Calls:
    """A handle that notes each call and settles the message, unless it is to hang until `go` is set."""

    def __init__(self) -> None:
        self.started: list[UUID] = []
        self.ended: list[UUID] = []
        self.now: Counter[UUID] = Counter()
        self.peak: Counter[UUID] = Counter()
        self.cancelled = 0
        self.in_vain = 0
        self.hang: set[UUID] = set()
        self.go = asyncio.Event()
        self._changed = asyncio.Condition()

    async def handle(self, message_id: UUID) -> None:
        self.started.append(message_id)
        service_id = await _service_of(message_id)
        self.now[service_id] += 1
        self.peak[service_id] = max(self.peak[service_id], self.now[service_id])
        await self._tell()
        try:
            if service_id in self.hang:
                await self.go.wait()
            await send(message_id)
            self.ended.append(message_id)
        except _NotClaimed:
            self.in_vain += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now[service_id] -= 1
            await self._tell()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(holds)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Gate:
    """A handle that lets the calls end one by one, in the order in which it is told to."""

    def __init__(self) -> None:
        self.started: list[UUID] = []
        self.settles = True
        self._may_end: dict[UUID, asyncio.Event] = {}
        self._changed = asyncio.Condition()

    async def handle(self, message_id: UUID) -> None:
        async with self._changed:
            self.started.append(message_id)
            self._may_end[message_id] = asyncio.Event()
            self._changed.notify_all()
        await self._may_end[message_id].wait()
        if self.settles:
            await send(message_id)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self.started) >= count)

    def end(self, *message_ids: UUID) -> None:
        for message_id in message_ids:
            self._may_end[message_id].set()

    def end_all(self) -> None:
        self.end(*self._may_end)


class _NotClaimed(Exception):
    """Another call has it, or its service's circuit is open."""


async def _service_of(message_id: UUID) -> UUID:
    (row,) = await rows("SELECT service_id FROM message WHERE id = $1", message_id)
    return UUID(str(row["service_id"]))


async def send(message_id: UUID) -> None:
    """Claim the message and settle it as sent."""
    claim = await claim_message(new_key(), message_id, now(), 60, circuit=CircuitPolicy(NEVER, NEVER))
    if claim is None:
        raise _NotClaimed
    settlements = [Settlement(r.id, r.number, RecipientState.SENT) for r in claim.recipients]
    assert await settle(claim, lambda _: settlements, now(), now())


@asynccontextmanager
async def running(engine: Engine, handle: Handle) -> AsyncIterator[asyncio.Event]:
    """Run the engine in the block; set what this gives to stop it earlier."""
    stop = asyncio.Event()
    run = asyncio.create_task(engine.run(handle, stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await run

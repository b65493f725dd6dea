"""Run the engine, tell it which services there are, and move mail to the service by which it leaves."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from app.clock import now
from app.database.connection import as_key, as_moment, rows
from app.database.trouble import log_trouble
from app.delivery.uptime import Uptime
from app.queue.engine import Engine
from app.queue.route import divert
from app.services.circuit import shut_services
from app.services.pacing import COLUMNS

logger = logging.getLogger(__name__)

Attempt = Callable[[UUID], Coroutine[Any, Any, bool]]
"""What is called for a due message; False: it could not be claimed."""


async def run_delivery(
    engine: Engine,
    attempt: Attempt,
    stop: asyncio.Event,
    *,
    connections_per_service: int,
    messages_ahead: int = 0,
    look_every: float,
    uptime: Uptime | None = None,
    move_at_once: int = 1000,
) -> None:
    """Deliver until `stop` is set, then return once the attempts under way have ended.

    `connections_per_service` holds for services without a number of their own; for each connection, `messages_ahead`
    more mails are made ready, unless the service has limits: those would count them too early. Services made, changed,
    deleted, paused or resumed meanwhile, and circuits that open, close or want a probe, are noticed within `look_every`
    seconds; so is, in `uptime`, whether the database answers; services whose limits allow more again, at once. Mail
    that has to leave by another service than before is moved then, up to `move_at_once` mails of a service.
    """
    services = _Services(engine, connections_per_service, messages_ahead, uptime or Uptime(0), move_at_once)

    async def try_message(message_id: UUID) -> None:
        if not await attempt(message_id):
            # Its service takes none, as it seems. Until the engine knows that, it would try one after the other.
            await services.look()

    watching = asyncio.create_task(_watch(services, look_every))
    try:
        await engine.run(try_message, stop)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(services: "_Services", look_every: float) -> None:
    while True:
        opens_at = await services.look()
        wait = (opens_at - now()).total_seconds() if opens_at else look_every
        await asyncio.sleep(max(0, min(wait, look_every)))


class _Services:
    """Which services the engine may serve now: active, not paused, not over their limits, and with no open circuit."""

    def __init__(self, engine: Engine, cap: int, ahead: int, uptime: Uptime, batch: int) -> None:
        self._engine = engine
        self._cap = cap
        self._ahead = ahead
        self._batch = batch
        self._uptime = uptime
        self._looking = asyncio.Lock()

    async def look(self) -> datetime | None:
        """Tell the engine; returns when the limits of the next service allow more, if any waits for that."""
        # One after the other, so that the engine is never told what was true before it was told otherwise.
        async with self._looking:
            try:
                with self._uptime.asking():
                    await divert(self._engine, now(), self._batch)
                    shut, found = await shut_services(now()), await rows(_SERVICES)
                return self._tell([row for row in found if as_key(row["id"]) not in shut])
            except Exception as error:
                log_trouble(logger, error, "the services could not be read; trying again")
                return None

    def _tell(self, found: Sequence[Mapping[str, Any]]) -> datetime | None:
        moment = now()
        places = {as_key(row["id"]): self._places(row) for row in found}
        free_at = {as_key(row["id"]): as_moment(row["free_at"]) or moment for row in found}
        self._engine.places_ahead({key: ahead for key, (_, ahead) in places.items() if ahead})
        self._engine.services_changed({key: places[key][0] for key, free in free_at.items() if free <= moment})
        return min((free for free in free_at.values() if free > moment), default=None)

    def _places(self, row: Mapping[str, Any]) -> tuple[int, int]:
        """As many as the service has connections, and those ahead of them."""
        connections = int(row["max_connections"] or self._cap)
        return connections, 0 if row["is_paced"] else connections * self._ahead


_HAS_LIMITS = " OR ".join(f"{column} IS NOT NULL" for column in COLUMNS)
_SERVICES = (
    f"SELECT id, max_connections, free_at, {_HAS_LIMITS} AS is_paced"  # noqa: S608 - constants
    " FROM service LEFT JOIN pace ON pace.subject = service.id WHERE is_active AND paused_at IS NULL"
)

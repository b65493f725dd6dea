"""Run the engine, and tell it which services there are."""

import asyncio
import logging
from uuid import UUID

from app.clock import now
from app.queue.engine import Engine, Handle
from app.services.circuit import shut_services
from app.services.models import Service

logger = logging.getLogger(__name__)


async def run_delivery(
    engine: Engine, attempt: Handle, stop: asyncio.Event, *, connections_per_service: int, look_every: float
) -> None:
    """Deliver until `stop` is set, then return once the attempts under way have ended.

    Services made, deleted, (de)activated, paused or resumed meanwhile, and circuits that open, close or want a probe,
    are noticed within `look_every` seconds.
    """
    watching = asyncio.create_task(_watch_services(engine, connections_per_service, look_every))
    try:
        await engine.run(attempt, stop)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch_services(engine: Engine, cap: int, look_every: float) -> None:
    while True:
        try:
            engine.services_changed(dict.fromkeys(await _open_services(), cap))
        except Exception as error:
            logger.warning("the services could not be read (%s); trying again", type(error).__name__)
        await asyncio.sleep(look_every)


async def _open_services() -> list[UUID]:
    shut = await shut_services(now())
    active = await Service.filter(is_active=True, paused_at=None).only("id")
    return [service.id for service in active if service.id not in shut]

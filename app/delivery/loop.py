"""Run the engine: attempts side by side, started again after trouble, drained on stop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from app.database.connection import is_transient
from app.queue.engine import Engine
from app.services.models import Service

logger = logging.getLogger(__name__)


async def run_delivery(
    engine: Engine,
    attempt: Callable[[UUID], Awaitable[None]],
    stop: asyncio.Event,
    *,
    connections_per_service: int,
    pause: float,
) -> None:
    """Deliver until `stop` is set, then return once the attempts under way have ended.

    Services made, changed or deactivated meanwhile are noticed within `pause` seconds, the wait after trouble too.
    """

    async def guarded(message_id: UUID) -> None:
        try:
            await attempt(message_id)
        except Exception:
            logger.exception("message %s: the attempt broke off; its lease will run out", message_id)

    watching = asyncio.create_task(_watch_services(engine, connections_per_service, pause))
    try:
        while not stop.is_set():
            try:
                await engine.run(guarded, stop)
            except Exception as error:
                if not is_transient(error):
                    logger.exception("the queue engine broke off; starting it again")
                else:
                    logger.warning("the database is in trouble (%s); delivery pauses", type(error).__name__)
                await asyncio.sleep(pause)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch_services(engine: Engine, cap: int, pause: float) -> None:
    while True:
        try:
            engine.services_changed({service.id: cap for service in await Service.filter(is_active=True).only("id")})
        except Exception as error:
            logger.warning("the services could not be read (%s); trying again", type(error).__name__)
        await asyncio.sleep(pause)

"""Attempts of lost workers are ended where no claim comes by, because the service of their mail takes none."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from app.clock import now
from app.database.connection import transaction
from app.database.trouble import log_trouble
from app.delivery.uptime import Uptime
from app.queue.lost import end_lost_attempt, find_lost
from app.queue.wakeup import Wakeup

logger = logging.getLogger(__name__)


async def run_sweep(uptime: Uptime, wakeup: Wakeup, *, interval: float, max_crashes: int) -> None:
    """Sweep every `interval` seconds until cancelled; trouble is logged and tried again."""
    while True:
        await asyncio.sleep(interval)
        try:
            await sweep(uptime, wakeup, max_crashes)
        except Exception as error:
            log_trouble(logger, error, "lost attempts could not be ended; it will be tried again")


async def sweep(uptime: Uptime, wakeup: Wakeup, max_crashes: int, clock: Callable[[], datetime] = now) -> int:
    """End every attempt whose lease has ended, as the claim that takes over would; how many. None unless `uptime`
    lasts: whoever knows a result is to write it down first."""
    # Read first: if the database is away later, a lease that ends meanwhile may be a living worker's.
    moment = clock()
    if not uptime.lasts:
        return 0
    ended = 0
    for message_id in await find_lost(moment):
        async with transaction():
            ended += await end_lost_attempt(message_id, moment, max_crashes)
        wakeup.message_changed(message_id)
    if ended:
        logger.info("%d attempts were lost with their workers", ended)
        wakeup.work_arrived()
    return ended

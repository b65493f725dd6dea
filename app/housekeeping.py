"""Expire and purge what has had its time."""

import asyncio
import logging
from datetime import datetime, timedelta

from app.audit.read import forget_old_entries
from app.clock import now
from app.database.connection import execute
from app.database.trouble import log_trouble
from app.limits.counter import forget_old_counts, forget_the_future
from app.queue.content import remove_unfinished
from app.queue.expire import expire_overdue
from app.queue.heartbeat import forget_lost_workers
from app.services.circuit import probe_what_is_far_off
from app.settings import Settings

logger = logging.getLogger(__name__)


async def run_housekeeping(settings: Settings) -> None:
    """Expire and purge every `housekeeping_interval` seconds until cancelled; trouble is logged and tried again."""
    while True:
        try:
            await expire_overdue(now(), settings.lease_grace)
            await purge(settings, now())
        except Exception as error:
            log_trouble(logger, error, "housekeeping failed; it will be tried again")
        await asyncio.sleep(settings.housekeeping_interval)


async def purge(settings: Settings, moment: datetime) -> None:
    """Delete captured mail, idempotency keys, lost workers, audit entries and slices of mail never accepted that are
    older than the settings keep them, and counts that no limit needs any more."""
    await execute(
        "DELETE FROM captured_mail WHERE received_at < $1", moment - timedelta(days=settings.captured_mail_days)
    )
    await execute(
        "DELETE FROM idempotency_key WHERE created_at < $1", moment - timedelta(seconds=settings.idempotency_ttl)
    )
    await remove_unfinished(moment, settings.unfinished_content_age)
    await forget_old_counts(moment)
    await forget_the_future(moment)
    longest = max(settings.circuit_probe_interval, settings.circuit_auth_interval, settings.max_asked_delay)
    await probe_what_is_far_off(moment, longest)
    await forget_lost_workers(moment, settings.worker_lost_after)
    await forget_old_entries(moment, settings.audit_days)

"""Which engine says when a message is tried: the database decides."""

import logging

from app.database.configuration import is_postgres, pgqueuer_is_installed
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Engine
from app.queue.wakeup import Wakeup
from app.settings import Settings

logger = logging.getLogger(__name__)


def choose_engine(settings: Settings, wakeup: Wakeup) -> Engine:
    """PgQueuer on PostgreSQL; the embedded engine on SQLite, and where PgQueuer is not installed."""
    if is_postgres(settings.database_url):
        if pgqueuer_is_installed():
            from app.queue.pgqueuer import PgQueuerEngine

            return PgQueuerEngine(settings)
        logger.warning(
            "PgQueuer is not installed (pip install '.[postgres]' in Heliograph's folder): workers look for mail every"
            " %g s instead of being woken, and each has its own limit of connections per service",
            settings.queue_poll,
        )
    return EmbeddedEngine(wakeup, settings.queue_poll)

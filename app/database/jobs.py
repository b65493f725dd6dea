"""PgQueuer's tables: their names, and their way into the database. Needs PgQueuer, so import it only where it is."""

from functools import cache
from typing import Any

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.ports.driver import Driver

from app.database.session import postgres_session
from app.settings import Settings

JOBS_TABLE = "heliograph_pgqueuer"
JOBS_LOG_TABLE = "heliograph_pgqueuer_log"
JOBS_CHANNEL = "heliograph_ch_pgqueuer"


async def migrate_jobs(settings: Settings) -> bool:
    """Make the tables, or bring them up to the installed PgQueuer; False when there was nothing to do.

    Call it while holding the migration lock. Raises what the driver raises.
    """
    async with postgres_session(settings) as session:
        queries = job_queries(AsyncpgDriver(session))
        if await queries.schema_is_installed():
            return bool((await queries.apply_upgrade()).statements)
        await queries.install()
        return True


def job_queries(driver: Driver) -> Queries:
    """PgQueuer's statements, on our tables, through this driver."""
    return Queries(driver, *_builders())


@cache
def _builders() -> tuple[QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder]:
    names = _names()
    return QueryBuilderEnvironment(names), QueryQueueBuilder(names), QuerySchedulerBuilder(names)


def _names() -> DBSettings:
    # Every name is given: PgQueuer would read what is left out from variables as common as TRIGGER or FUNCTION. Each
    # by the first of its spellings, which wins over a variable.
    names: dict[str, Any] = {
        "prefix": "heliograph_",
        "db_schema": None,
        "pgqueuer_channel": JOBS_CHANNEL,
        "pgqueuer_function": "heliograph_fn_pgqueuer_changed",
        "pgqueuer_statistics_table": "heliograph_pgqueuer_statistics",
        "pgqueuer_queue_status_type": "heliograph_pgqueuer_status",
        "pgqueuer_queue_table": JOBS_TABLE,
        "pgqueuer_queue_table_log": JOBS_LOG_TABLE,
        "pgqueuer_trigger": "heliograph_tg_pgqueuer_changed",
        "pgqueuer_schedules_table": "heliograph_pgqueuer_schedules",
        "pgqueuer_durability": Durability.durable,
        "pgqueuer_widen_id": True,
    }
    return DBSettings(**names)

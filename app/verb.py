"""What verbs of the operator's that need the database have in common."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from app.database.configuration import is_sqlite, sqlite_file_exists
from app.database.connection import close_database, open_database
from app.database.migrate import require_migrated
from app.errors import CommandFailed
from app.settings import Settings


def with_database(settings: Settings, work: Coroutine[Any, Any, int]) -> int:
    """What `work` returns, run while the database is open. Raises CommandFailed where there is none, NotMigrated."""

    async def run() -> int:
        try:
            if is_sqlite(settings.database_url) and not sqlite_file_exists(settings.database_url):
                raise CommandFailed("there is no database yet; `heliograph serve` makes one")
            await open_database(settings)
            await require_migrated()
            return await work
        finally:
            work.close()
            await close_database()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop that `serve` has as well; where it cannot be had, asyncio's own."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop

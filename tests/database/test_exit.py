"""A process that fails ends; it does not hang on the thread of an open database."""

from collections.abc import Awaitable, Callable

import pytest

from app.settings import Settings

Python = Callable[..., Awaitable[tuple[int, str, str]]]

FAIL_AT_START_UP = """
import asyncio, sys
from app.database.connection import close_database, open_database
from app.settings import Settings

async def serve() -> None:
    await open_database(Settings(database_url=sys.argv[1]))
    try:
        raise SystemExit(3)
    finally:
        {ending}

asyncio.run(serve())
"""


@pytest.mark.parametrize("ending", ["await close_database()", "pass"], ids=["closing", "forgetting to close"])
async def test_a_process_that_fails_at_start_up_exits(settings: Settings, python: Python, ending: str) -> None:
    status, _, errors = await python(FAIL_AT_START_UP.format(ending=ending), settings.database_url)
    assert status == 3, errors


OPEN_NOTHING = """
import asyncio, sys
from app.database.connection import open_database
from app.settings import Settings
asyncio.run(open_database(Settings(database_url=sys.argv[1], database_busy_timeout=2)))
"""


@pytest.mark.parametrize(
    "url", ["sqlite:///nowhere/at/all.db", "postgres://nobody@127.0.0.1:1/nothing"], ids=["sqlite", "postgres"]
)
async def test_a_process_that_cannot_open_its_database_exits(python: Python, url: str) -> None:
    status, _, errors = await python(OPEN_NOTHING, url)
    assert status == 1
    assert "unable to open database file" in errors or "refused" in errors.lower()

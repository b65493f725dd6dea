"""Databases and settings for every test.

`database` and `settings` make a test run twice: on SQLite and on PostgreSQL, each time with a fresh, migrated database.
`sqlite_database` and `sqlite_settings` are for tests in which the database does not matter.

PostgreSQL is the server named by TEST_PG_URL (a role that may create databases), else one that is started for this
run. Where neither can be had, those tests are skipped, or fail: see tests/programs.py.
"""

import asyncio
import fcntl
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import hypothesis
import pytest

from app.database.connection import close_database, open_database
from app.database.migrate import migrate
from app.settings import Settings
from tests.postgres import Postgres, running_postgres
from tests.programs import without

pytest_plugins = ["tests.browser", "tests.idle_clock"]

# SQLite waits for the disk at every commit, and PostgreSQL makes a database out of hundreds of files; where files can
# be in memory, tests wait for nothing.
MEMORY = Path("/dev/shm")
FILES = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 * 1024**3 else Path(tempfile.gettempdir())
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(FILES))

# How long one example takes says more about the machine than about the code.
hypothesis.settings.register_profile("heliograph", deadline=None)
hypothesis.settings.load_profile("heliograph")

T = TypeVar("T")


def pytest_collection_finish() -> None:
    """What is loaded by now stays: without this, each look for garbage goes through all of it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the journeys, which mostly wait, among the tests that mostly compute, where several run side by side."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    kinds: dict[bool, list[pytest.Item]] = {False: [], True: []}
    for item in items:
        kinds["journeys" in item.path.parts and item.get_closest_marker("xdist_group") is None].append(item)
    place = {item: number / len(kind) for kind in kinds.values() for number, item in enumerate(kind)}
    items.sort(key=place.__getitem__)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine, and no .env file, reaches a test."""
    for name in list(os.environ):
        if name.startswith(("HELIOGRAPH_", "MAIL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HELIOGRAPH_ENV_FILE", str(tmp_path / "no.env"))


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Settings]:
    """A fresh, migrated database, open during the test: once SQLite, once PostgreSQL. Yields its settings."""
    async for opened in _opened(settings):
        yield opened


@pytest.fixture
async def sqlite_database(sqlite_settings: Settings) -> AsyncIterator[Settings]:
    """A fresh, migrated SQLite database, open during the test. Yields its settings."""
    async for opened in _opened(sqlite_settings):
        yield opened


@pytest.fixture
def settings(clean_environment: None, database_url: str, tmp_path: Path) -> Settings:
    """Settings with a fresh, migrated database that is not open: once SQLite, once PostgreSQL."""
    return _settings(database_url, tmp_path)


@pytest.fixture
def sqlite_settings(clean_environment: None, sqlite_url: str, tmp_path: Path) -> Settings:
    """Settings with a fresh, migrated SQLite database that is not open."""
    return _settings(sqlite_url, tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database: once SQLite, once PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite file."""
    path = tmp_path / "heliograph.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite://{path}"


@pytest.fixture
def postgres_url(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database, as good as fresh."""
    with postgres.lent(postgres_template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied; made by the first worker of a test run that asks for it."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    path, unfinished = shared / "template.db", shared / "unfinished.db"
    with (shared / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            run(migrate(Settings(database_url=f"sqlite://{unfinished}")))
            unfinished.rename(path)
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> Iterator[str]:
    """The name of a migrated PostgreSQL database, to be copied."""
    url = postgres.create()
    run(migrate(Settings(database_url=url)))
    yield urlsplit(url).path[1:]
    postgres.drop(url)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL server, one for all workers of a test run."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres(os.environ.get("PYTEST_XDIST_TESTRUNUID"), FILES))
        except Exception as error:  # whatever keeps it from starting on this machine
            without("postgres", f"set TEST_PG_URL ({type(error).__name__}: {error})")
        if not os.environ.get("TEST_PG_URL"):
            for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
                server.execute(f"ALTER SYSTEM SET {setting} = off")
            server.execute("SELECT pg_reload_conf()")
        yield server


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a loop of its own, leaving alone the loop of the test."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)


def _settings(database_url: str, folder: Path) -> Settings:
    return _defaults().model_copy(update={"database_url": database_url, "secret_key_file": folder / "heliograph.key"})


@cache
def _defaults() -> Settings:
    """Read once: to look for each of them in the environment takes longer than many a test."""
    return Settings(port=0, smtp_loopback=True)


async def _opened(settings: Settings) -> AsyncIterator[Settings]:
    await open_database(settings)
    try:
        yield settings
    finally:
        await close_database()

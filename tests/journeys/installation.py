"""Where a program of this folder runs Heliograph, when it is not a test: a new folder, and a new database."""

import argparse
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

from app.database.connection import close_database, open_database
from app.settings import Settings
from tests.journeys.program import ADMIN_KEY, Heliograph
from tests.postgres import running_postgres

DATABASES = ("sqlite", "postgres")
SECRET = "thirty-two characters are enough for a test"


def database_options(description: str | None) -> argparse.ArgumentParser:
    """A command line that can say which database."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--database",
        choices=DATABASES,
        default="sqlite",
        help="a new database of this kind; PostgreSQL's server is TEST_PG_URL, or started for this run",
    )
    parser.add_argument("--database-url", help="an empty database of your own instead; what is written there stays")
    return parser


@contextmanager
def new_installation(options: argparse.Namespace, **settings: object) -> Iterator[Heliograph]:
    """An installation with these settings on the database that the options name. All of it is removed at the end."""
    given: str | None = options.database_url
    with tempfile.TemporaryDirectory(prefix="heliograph-") as folder:
        own = nullcontext(given or f"sqlite://{folder}/heliograph.db")
        with own if given or options.database == "sqlite" else _new_postgres_database() as url:
            yield installation(Path(folder), url, **settings)


def installation(folder: Path, database_url: str, **settings: object) -> Heliograph:
    """Heliograph in this folder: quick to notice and to try again, its leases short."""
    quick = {"queue_poll": 0.2, "wait_poll": 0.2, "retry_schedule": 0.2, "retry_jitter": 0}
    leases = {"lease": 2, "lease_renewal": 0.5}
    keys = {"secret_keys": SECRET, "admin_api_key": ADMIN_KEY, "smtp_loopback": True}
    given = {"env_file": "no.env", "port": 0, "database_url": database_url} | quick | leases | keys | settings
    return Heliograph(folder).having(**given)


@asynccontextmanager
async def opened(installed: Heliograph) -> AsyncIterator[None]:
    """Its database, opened in this process."""
    await open_database(Settings(database_url=database_url(installed)))
    try:
        yield
    finally:
        await close_database()


def database_url(installed: Heliograph) -> str:
    """Where its mail is."""
    return installed.settings["HELIOGRAPH_DATABASE_URL"]


def is_on_postgres(installed: Heliograph) -> bool:
    """Whether processes on several machines may share it."""
    return database_url(installed).startswith("postgres")


@contextmanager
def _new_postgres_database() -> Iterator[str]:
    with running_postgres() as server:
        url = server.create()
        try:
            yield url
        finally:
            server.drop(url)

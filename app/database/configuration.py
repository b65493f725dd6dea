"""The Tortoise configuration: which database, through which client, with which models and migrations."""

import os
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote, urlsplit

APP_LABEL = "heliograph"
MODELS = (
    "app.database.models",
    "app.limits.models",
    "app.services.models",
    "app.domains.models",
    "app.access.models",
    "app.audit.models",
    "app.templates.models",
    "app.queue.models",
    "app.events.models",
    "app.inbox.models",
)


class DatabaseUrlError(ValueError):
    """The database URL cannot be used; the message says why and never shows the URL, which may hold a password."""


def tortoise_config(
    database_url: str,
    *,
    pool_size: int = 10,
    busy_timeout: float = 10,
    command_timeout: float | None = None,
    checkpoint_commits: int = 32,
    checkpoint_pages: int = 12_000,
    foreign_keys: bool = True,
) -> dict[str, Any]:
    """The configuration for `sqlite://path` (absolute: `sqlite:///path`) or a `postgres[ql]://` URL as libpq reads it.

    `busy_timeout`: seconds to wait for a lock, or for a free connection of the pool (of at most `pool_size`).
    `command_timeout`: seconds one statement may take on PostgreSQL. `foreign_keys`: SQLite enforces them.
    `checkpoint_commits`, `checkpoint_pages`: see app.database.checkpoint.
    Raises DatabaseUrlError for any other scheme, or for PostgreSQL when its driver is not installed.
    """
    if is_sqlite(database_url):
        commits: dict[str, Any] = {"checkpoint_commits": checkpoint_commits, "checkpoint_pages": checkpoint_pages}
        name, connection = "sqlite", _sqlite(database_url, busy_timeout, foreign_keys, commits)
    elif is_postgres(database_url):
        name, connection = "postgres", _postgres(database_url, pool_size, busy_timeout, command_timeout)
    else:
        raise DatabaseUrlError("the database URL must start with sqlite://, postgres:// or postgresql://")
    # Named after its dialect: Tortoise keeps prepared SQL by this name, for as long as the process lives.
    app = {"models": list(MODELS), "migrations": migrations_module(), "default_connection": name}
    return {
        "connections": {name: connection},
        "apps": {APP_LABEL: app},
        "use_tz": True,
        "timezone": "UTC",
    }


def is_sqlite(database_url: str) -> bool:
    """Whether the URL's scheme says SQLite."""
    return database_url.startswith("sqlite://")


def is_postgres(database_url: str) -> bool:
    """Whether the URL's scheme says PostgreSQL."""
    return database_url.partition("://")[0] in ("postgres", "postgresql")


def pgqueuer_is_installed() -> bool:
    """Whether PostgreSQL's engine can be used."""
    return find_spec("pgqueuer") is not None


def _sqlite(database_url: str, busy_timeout: float, foreign_keys: bool, commits: dict[str, float]) -> dict[str, Any]:
    # busy_timeout goes first: turning on WAL waits for other processes that are just opening the file.
    return {
        "engine": "app.database.sqlite",
        "credentials": {
            "file_path": sqlite_path(database_url),
            "busy_timeout": int(busy_timeout * 1000),
            "journal_mode": "WAL",
            "synchronous": "FULL",
            "foreign_keys": "ON" if foreign_keys else "OFF",
            "journal_size_limit": 64 * 1024 * 1024,
            "wal_autocheckpoint": 0,
            **commits,
            # What a savepoint would undo is else written to a file, beyond 16 pages.
            "temp_store": "MEMORY",
        },
    }


def sqlite_path(database_url: str) -> str:
    """The file that a `sqlite://` URL names. Raises DatabaseUrlError where it names none, or asks for memory."""
    url = urlsplit(database_url)
    path = unquote(url.netloc + url.path)
    if not PurePath(path).name or path.startswith(":") or url.query or url.fragment:
        raise DatabaseUrlError("a sqlite:// URL names a file, and nothing else: sqlite://heliograph.db")
    return path


def sqlite_file_exists(database_url: str) -> bool:
    """Whether there is a file where a `sqlite://` URL says. Raises DatabaseUrlError where it is no SQLite database."""
    path = sqlite_path(database_url)
    try:
        with Path(path).open("rb") as file:
            beginning = file.read(len(_SQLITE_HEADER))
    except FileNotFoundError:
        return False
    except OSError:
        return True  # SQLite meets the same trouble, and says so
    if beginning not in (b"", _SQLITE_HEADER):
        raise DatabaseUrlError(f"{path} is no SQLite database; it was not touched")
    return True


_SQLITE_HEADER = b"SQLite format 3\0"


def _postgres(database_url: str, pool_size: int, busy_timeout: float, command_timeout: float | None) -> dict[str, Any]:
    if find_spec("asyncpg") is None:
        raise DatabaseUrlError("PostgreSQL needs its driver: pip install '.[postgres]' in Heliograph's folder")
    return {
        "engine": "app.database.asyncpg",
        "credentials": {
            "dsn": database_url,
            "minsize": 1,
            "maxsize": pool_size,
            "busy_timeout": busy_timeout,
            "command_timeout": command_timeout,
        },
    }


def migrations_module() -> str:
    """Where the migrations are: inside the package when installed from a wheel, beside it in a checkout."""
    return "app.migrations" if find_spec("app.migrations") else "migrations"


def __getattr__(name: str) -> dict[str, Any]:
    """TORTOISE_ORM, for the `tortoise` command line (makemigrations); only then is the environment read here."""
    if name == "TORTOISE_ORM":
        return tortoise_config(os.environ.get("HELIOGRAPH_DATABASE_URL", "sqlite://heliograph.db"))
    raise AttributeError(name)

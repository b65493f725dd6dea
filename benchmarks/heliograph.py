"""Heliograph as its operator runs it, with all features on: key, role, senders, rate limits, validation, log."""

import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import ROOT, SERVER_CORE, pinned, tree_cpu_seconds
from tests.journeys.program import Heliograph, Process, Server

SECRET = "thirty-two characters are enough for a test"
ADMIN_KEY = "benchmark-admin-key-0123456789"
SHIM = ROOT / "benchmarks" / "peers" / "build" / "slowsync.so"
DATABASE = "heliograph.db"
ENOUGH = 100_000_000
"""A rate limit that is counted, and never reached."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Where it runs: `checkout` is the source it is started from; `slow`: ms that are added to every fsync."""

    database_url: str | None = None
    checkout: Path = ROOT
    slow: int = 0
    connections: int = 10

    def settings(self, folder: Path) -> dict[str, object]:
        """What differs from the defaults."""
        return {
            "env_file": "no.env",
            "port": 0,
            "database_url": self.database_url or f"sqlite://{folder}/{DATABASE}",
            "secret_keys": SECRET,
            "admin_api_key": ADMIN_KEY,
            "smtp_loopback": True,
        }

    def environment(self) -> dict[str, str]:
        """What is no setting: the source, and the shim."""
        shim = {"LD_PRELOAD": str(SHIM), "SLOWSYNC_MS": str(self.slow)} if self.slow else {}
        if shim and not SHIM.exists():
            raise FileNotFoundError(f"{SHIM} is missing: run benchmarks/peers/install")
        return {"PYTHONPATH": str(self.checkout), **shim}


@dataclass(frozen=True, slots=True)
class Ours:
    """A server that answers, with a service `relay` and a key that may send with it."""

    installed: Heliograph
    server: Server
    api_key: str
    service_id: str

    @property
    def url(self) -> str:
        """Where it serves."""
        return self.server.url

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.server.running.pid

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return tree_cpu_seconds(self.pid)


@asynccontextmanager
async def installation(given: Installed) -> AsyncIterator[Heliograph]:
    """A folder and settings; the database is migrated, of SQLite a copy of one that was."""
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as name:
        installed = Heliograph(Path(name), given.environment()).having(**given.settings(Path(name)))
        try:
            if given.database_url is None:
                (installed.folder / DATABASE).write_bytes(await _migrated(given))
            yield installed
        finally:
            await installed.close()


_migrated_files: dict[Path, bytes] = {}


async def _migrated(given: Installed) -> bytes:
    """A new SQLite database of this source, which is migrated once in a run."""
    if given.checkout not in _migrated_files:
        with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as name:
            plain = Installed(None, given.checkout)
            await Heliograph(Path(name), plain.environment()).having(**plain.settings(Path(name))).migrate()
            with closing(sqlite3.connect(Path(name) / DATABASE)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            _migrated_files[given.checkout] = (Path(name) / DATABASE).read_bytes()
    return _migrated_files[given.checkout]


async def migrate_postgres(database_url: str, checkout: Path) -> None:
    """Make the tables of this source in an empty PostgreSQL database."""
    given = Installed(database_url, checkout)
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as name:
        await Heliograph(Path(name), given.environment()).having(**given.settings(Path(name))).migrate()


@asynccontextmanager
async def serving(given: Installed, *, sink_port: int = 2525, worker: bool = True) -> AsyncIterator[Ours]:
    """A new installation that serves on its core, and delivers to the sink unless it has no `worker`."""
    async with AsyncExitStack() as stack:
        installed = await stack.enter_async_context(installation(given))
        server = await stack.enter_async_context(started(installed, worker=worker))
        service_id, api_key = await equip(server, sink_port, given.connections)
        yield Ours(installed, server, api_key, service_id)


@asynccontextmanager
async def started(installed: Heliograph, *, worker: bool = True) -> AsyncIterator[Server]:
    """The server of this installation, on its core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        serving = installed.serving(*([] if worker else ["--no-worker"]), api_key=ADMIN_KEY)
        async with serving as server:
            os.sched_setaffinity(0, before)
            yield server
    finally:
        os.sched_setaffinity(0, before)


async def working(installed: Heliograph) -> Process:
    """A `heliograph worker` of this installation, on its core."""
    with pinned(SERVER_CORE):
        return await installed.start("worker")


async def equip(server: Server, sink_port: int, connections: int) -> tuple[str, str]:
    """Make the service, and a key whose role may send with it as *@sender.example; returns both."""
    limits = {"perMinute": ENOUGH, "perHour": ENOUGH, "perDay": ENOUGH}
    graphql = server.doors.graphql
    service = await graphql.create_service("relay", port=sink_port, maxConnections=connections)
    grant: dict[str, Any] = {
        "service": "relay",
        "actions": ["SEND", "READ_MESSAGES"],
        "allowedSenders": ["*@sender.example"],
        "limits": limits,
    }
    create_role = "mutation ($input: CreateRoleInput!) { done: createRole(input: $input) { role { id } %s } }"
    create_key = "mutation ($input: CreateApiKeyInput!) { done: createApiKey(input: $input) { key %s } }"
    errors = "userErrors { code field message retryable }"
    role = await graphql.change(create_role % errors, name="shop", grants=[grant], limits=limits)
    made = await graphql.change(create_key % errors, roleId=role["role"]["id"], name="shop", limits=limits)
    return service["id"], made["key"]

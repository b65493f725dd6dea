"""API and worker processes that are started again when they were killed, and clients that do not give up."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from app.database.connection import rows
from tests.journeys.doors import Doors, Refused
from tests.journeys.program import Heliograph, Process, answering

CLIENTS = 20
PAUSE = 0.05
PATIENCE = 120


@dataclass
class Life:
    """A process from its start to its end. `name` is what it says at EHLO, so that its mails can be told."""

    name: str
    process: Process
    killed_at: float | None = None
    killed_by: int | None = None


@dataclass
class Member:
    """One place in the fleet, with the process that holds it now. Has `doors` when that one serves and is ready."""

    installed: Heliograph
    name: str
    command: tuple[str, ...]
    stack: AsyncExitStack
    lives: list[Life] = field(default_factory=list)
    doors: Doors | None = None
    _opening: asyncio.Task[None] | None = None

    @property
    def life(self) -> Life:
        """The present one."""
        return self.lives[-1]

    async def start(self) -> None:
        """Begin the next life; its doors open later."""
        name = f"{self.name}-{len(self.lives)}.example"
        process = await self.installed.having(ehlo_name=name).start(*self.command)
        self.stack.push_async_callback(process.kill)
        self.lives.append(Life(name, process))
        if self.command[0] == "serve":
            self._opening = asyncio.create_task(self._open(process))

    async def kill(self, number: int) -> None:
        """SIGKILL, the `number`th of a run: at any moment, also while it starts."""
        self.doors = None
        self.life.killed_at, self.life.killed_by = asyncio.get_running_loop().time(), number
        await self.life.process.kill()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)

    async def _open(self, process: Process) -> None:
        health = "ready" if self.command == ("serve",) else "live"
        self.doors = (await self.stack.enter_async_context(answering(process, health))).doors


@dataclass
class Fleet:
    """The processes of one installation, to whose database they all belong."""

    apis: Sequence[Member]
    workers: Sequence[Member]
    _turns: Iterator[int] = field(default_factory=itertools.count)

    @property
    def members(self) -> list[Member]:
        """All of them."""
        return [*self.apis, *self.workers]

    @property
    def lives(self) -> Mapping[str, Life]:
        """Every process there ever was, by its EHLO name."""
        return {life.name: life for member in self.members for life in member.lives}

    async def doors(self) -> Doors:
        """Those of an API process that is ready, each in turn; waits for one."""
        while not (ready := [api.doors for api in self.apis if api.doors]):  # noqa: ASYNC110 - a process opens them
            await asyncio.sleep(PAUSE)
        return ready[next(self._turns) % len(ready)]

    async def all_started(self) -> None:
        """Wait until every API process is ready and every worker says that it delivers."""
        async with asyncio.timeout(60):
            while not all(_has_started(member) for member in self.members):  # noqa: ASYNC110
                await asyncio.sleep(PAUSE)


@asynccontextmanager
async def launched(installed: Heliograph, *, apis: int, workers: int, alone: bool) -> AsyncIterator[Fleet]:
    """A fleet that runs, all of it killed at the end. `alone`: its API processes deliver, too."""
    await installed.migrate()
    serve = ("serve",) if alone else ("serve", "--no-worker")
    async with AsyncExitStack() as stack:
        fleet = Fleet(
            [Member(installed, f"api-{number}", serve, stack) for number in range(apis)],
            [Member(installed, f"worker-{number}", ("worker",), stack) for number in range(workers)],
        )
        for member in fleet.members:
            await member.start()
        await fleet.all_started()
        yield fleet


async def send_all(fleet: Fleet, numbers: "asyncio.Queue[int | None]") -> dict[str, str]:
    """What careful clients do, CLIENTS of them: each mail with a key of its own, again until it is acknowledged.

    `numbers` ends with None. Returns the message's id by recipient. A third goes through GraphQL, a third through REST
    without waiting, and a third through REST waits for the verdict.
    """
    acknowledged: dict[str, str] = {}

    async def client() -> None:
        while (number := await numbers.get()) is not None:
            acknowledged[recipient(number)] = await _insist(fleet, number)
        numbers.put_nowait(None)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    return acknowledged


async def settled() -> None:
    """Wait until no message of the open database is due any more."""
    async with asyncio.timeout(PATIENCE):
        while await rows("SELECT id FROM message WHERE due_at IS NOT NULL LIMIT 1"):  # noqa: ASYNC110
            await asyncio.sleep(PAUSE)


def recipient(number: int) -> str:
    """The only recipient of the mail of this number."""
    return f"{number}@x.example"


async def _insist(fleet: Fleet, number: int) -> str:
    while True:
        doors = await fleet.doors()
        try:
            message_id = await (_send_by_graphql if number % 3 == 0 else _send_by_rest)(doors, number)
        except httpx2.TransportError:
            continue
        if message_id is not None:
            return message_id
        await asyncio.sleep(PAUSE)


async def _send_by_graphql(doors: Doors, number: int) -> str | None:
    try:
        message = await doors.graphql.send_email(
            service="relay",
            to=[{"email": recipient(number)}],
            subject=f"Number {number}",
            text="Hello.",
            idempotencyKey=f"order-{number}",
        )
    except Refused as refused:
        if all(problem.retryable for problem in refused.problems):
            return None
        raise
    return message.id


async def _send_by_rest(doors: Doors, number: int) -> str | None:
    body = {"to": recipient(number), "subject": f"Number {number}", "body_text": "Hello."}
    wish = {"Prefer": "respond-async"} if number % 3 == 1 else {}
    answer = await doors.rest.send("relay", body, Idempotency_Key=f"order-{number}", **wish)
    if answer.status_code == 503:
        return None
    assert answer.status_code in (200, 202), answer.text
    message_id: str = answer.headers["x-message-id"]
    return message_id


def _has_started(member: Member) -> bool:
    assert member.life.process.running.returncode is None, member.life.process.errors
    if member.command[0] == "serve":
        return member.doors is not None
    return "delivers mail" in member.life.process.output

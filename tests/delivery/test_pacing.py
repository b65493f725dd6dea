"""Over its limits a service's mail waits without being tried in a circle, and leaves when the window opens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import as_key, as_moment, execute, rows
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.delivery.loop import run_delivery
from app.inbox.receiver import ReceivedMail, Receiver
from app.outbound.guard import LOOPBACK, Guard
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Engine
from app.queue.pgqueuer import PgQueuerEngine
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from app.smtp.pool import Pool
from app.smtp.server import Encryption, Server
from tests.delivery.conftest import Put
from tests.factories import message_row

CAP = 3
KINDS = ("embedded on SQLite", "embedded on PostgreSQL", "PgQueuer on PostgreSQL")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("sqlite_url" if kind.endswith("SQLite") else "postgres_url"))


@pytest.fixture
def engine(kind: str, settings: Settings, wakeup: Wakeup) -> Engine:
    if kind.startswith("PgQueuer"):
        return PgQueuerEngine(settings.model_copy(update={"queue_poll": 0.05, "recover_interval": 0.05}))
    return EmbeddedEngine(wakeup, 0.05)


@pytest.fixture
def arrived() -> list[datetime]:
    """When each mail arrived at the receiver."""
    return []


@pytest.fixture
async def receiver(arrived: list[datetime]) -> AsyncIterator[Receiver]:
    async def note(_: ReceivedMail) -> None:
        arrived.append(now())

    async with Receiver(keep=True, on_mail=note) as receiver:
        yield receiver


def server_of(service: Service) -> Server:
    assert service.host is not None
    assert service.port is not None
    return Server(service.host, service.port, Encryption.NONE, "client.example", guard=Guard(LOOPBACK))


@pytest.fixture
async def attempter(wakeup: Wakeup) -> AsyncIterator[Attempter]:
    pool = Pool(max_connections=CAP, max_messages=100, idle_limit=25, noop_after=5)
    retry, lease = RetryPolicy((30,), 0.2, 3600), LeasePolicy(60, 20, 0.01)
    yield Attempter(new_key(), pool, server_of, retry, lease, wakeup, turn_ahead=3600)
    await pool.close()


class Delivery:
    """Counts the attempts, and how often the engine was told of the services."""

    def __init__(self, engine: Engine, attempter: Attempter) -> None:
        self._engine, self._attempter = engine, attempter
        self._tell = engine.services_changed
        self.tried = self.claimed = self.told = 0

    async def attempt(self, message_id: UUID) -> bool:
        self.tried += 1
        claimed = await self._attempter.attempt(message_id)
        self.claimed += claimed
        return claimed

    def services_changed(self, caps: Mapping[UUID, int]) -> None:
        self.told += 1
        self._tell(caps)

    @asynccontextmanager
    async def running(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        monkeypatch.setattr(self._engine, "services_changed", self.services_changed)
        stop = asyncio.Event()
        run = run_delivery(self._engine, self.attempt, stop, connections_per_service=CAP, look_every=0.2)
        delivery = asyncio.create_task(run)
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(20):
                await delivery


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a server and an engine set no event
            await asyncio.sleep(0.01)


async def pass_time(service: Service, seconds: float) -> None:
    """Let everything that was taken have been taken so much earlier."""
    earlier = timedelta(seconds=seconds)
    for row in await rows("SELECT subject, span, starts_at FROM counter"):
        starts_at = as_moment(row["starts_at"])
        await execute(
            "UPDATE counter SET starts_at = $4 WHERE subject = $1 AND span = $2 AND starts_at = $3",
            as_key(row["subject"]),
            row["span"],
            starts_at,
            starts_at - earlier,
        )
    (row,) = await rows("SELECT free_at FROM pace WHERE subject = $1", service.id)
    await execute("UPDATE pace SET free_at = $2 WHERE subject = $1", service.id, as_moment(row["free_at"]) - earlier)


async def test_what_is_over_the_limit_waits_quietly_and_leaves_when_the_window_opens(
    service: Service,
    put_mail: Put,
    engine: Engine,
    attempter: Attempter,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await execute("UPDATE service SET recipients_per_minute = 4 WHERE id = $1", service.id)
    for _ in range(10):
        await put_mail()
    delivery = Delivery(engine, attempter)
    async with delivery.running(monkeypatch):
        for sent in (4, 8, 10):
            await until(lambda sent=sent: len(receiver.mails) == sent and delivery.claimed == sent)  # type: ignore[misc]
            looks, tried = delivery.told, delivery.tried
            await until(lambda looks=looks: delivery.told > looks + 4)  # type: ignore[misc]
            assert delivery.tried - tried <= CAP
            assert len(receiver.mails) == delivery.claimed == sent
            waiting = await rows("SELECT state, attempt_number FROM recipient WHERE state != 'sent'")
            assert [(row["state"], row["attempt_number"]) for row in waiting] == [("queued", 0)] * (10 - sent)
            if waiting:
                await pass_time(service, 61)


async def test_no_mail_leaves_before_its_turn(
    service: Service, put_mail: Put, attempter: Attempter, arrived: list[datetime]
) -> None:
    await execute("UPDATE service SET messages_per_second = 20 WHERE id = $1", service.id)
    began = now()
    assert await asyncio.gather(*[attempter.attempt(await put_mail()) for _ in range(6)]) == [True] * 6

    assert len(arrived) == 6
    for number, moment in enumerate(sorted(arrived)):
        assert moment >= began + timedelta(seconds=number / 20)


async def test_who_is_stopped_while_waiting_for_a_turn_gives_the_claim_back(
    service: Service, put_mail: Put, attempter: Attempter, receiver: Receiver
) -> None:
    await execute(
        "UPDATE service SET messages_per_second = 0.001, recipients_per_day = 2 WHERE id = $1",
        service.id,
    )
    assert await attempter.attempt(await put_mail())
    message_id = await put_mail()
    waiting = asyncio.create_task(attempter.attempt(message_id))

    async def claimed() -> bool:
        return bool((await message_row(message_id))["state"] == "sending")

    await until_row(claimed)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert len(receiver.mails) == 1
    assert (await message_row(message_id))["state"] == "queued"
    assert await rows("SELECT attempt_number FROM recipient WHERE message_id = $1", message_id) == [
        {"attempt_number": 0}
    ]
    assert await rows("SELECT SUM(used) AS used FROM counter") == [{"used": 1}]


async def until_row(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)

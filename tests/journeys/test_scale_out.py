"""Two API and three worker processes on one PostgreSQL: each mail is accepted once, and arrives once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pytest

from app.database.connection import close_database, open_database, rows
from app.inbox.receiver import Receiver, Stage
from app.settings import Settings
from tests.journeys.conftest import Eventually
from tests.journeys.doors import Doors
from tests.journeys.program import ADMIN_KEY, Heliograph, Process
from tests.journeys.reading import read_mail

MAILS = 200
CAP = 5


@dataclass(frozen=True)
class Fleet:
    """The processes, and the receiver their service `relay` leads to."""

    apis: list[Doors]
    workers: list[Process]
    receiver: Receiver

    async def send_all(self) -> set[str]:
        """Send MAILS mails, ten at a time, through all API processes in turn; returns their Message-IDs."""
        ten = asyncio.Semaphore(10)

        async def send(number: int, doors: Doors) -> str:
            async with ten:
                message = await doors.graphql.send_email(
                    service="relay", to=[{"email": f"{number}@x.example"}], subject=f"Number {number}", text="Hello."
                )
            return message.message_id_header

        sending = (send(number, doors) for number, doors in zip(range(MAILS), cycle(self.apis), strict=False))
        sent = set(await asyncio.gather(*sending))
        assert len(sent) == MAILS
        return sent

    def arrived(self) -> Counter[str]:
        """How many copies of each mail have arrived, by Message-ID."""
        return Counter(read_mail(mail.content).message_id for mail in self.receiver.mails)


@pytest.fixture
async def fleet(heliograph: Heliograph, postgres_url: str, receiver: Receiver) -> AsyncIterator[Fleet]:
    installed = heliograph.having(
        database_url=postgres_url,
        secret_keys="thirty-two characters are enough for a test",
        admin_api_key=ADMIN_KEY,
        smtp_max_connections=CAP,
        lease=2,
        lease_renewal=0.5,
    )
    async with AsyncExitStack() as stack:
        apis = [(await stack.enter_async_context(installed.serving("--no-worker"))).doors for _ in range(2)]
        await apis[0].graphql.create_service("relay", port=receiver.port)
        workers = [await installed.start("worker") for _ in range(3)]
        for worker in workers:
            await _started(worker)
        yield Fleet(apis, workers, receiver)
        for worker in workers:
            await worker.kill()


async def _started(worker: Process) -> None:
    async with asyncio.timeout(30):
        while "delivers mail" not in worker.output:
            assert worker.running.returncode is None, worker.errors
            await asyncio.sleep(0.02)


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[None]:
    await open_database(Settings(database_url=database_url))
    try:
        yield
    finally:
        await close_database()


def all_settled(database_url: str) -> Callable[[], Any]:
    async def settled() -> bool:
        async with opened(database_url):
            return await rows("SELECT id FROM message WHERE due_at IS NOT NULL LIMIT 1") == []

    return settled


async def test_each_mail_is_accepted_once_claimed_once_and_arrives_once(
    fleet: Fleet, postgres_url: str, eventually: Eventually
) -> None:
    sent = await fleet.send_all()
    await eventually(all_settled(postgres_url))

    assert fleet.arrived() == dict.fromkeys(sent, 1)
    async with opened(postgres_url):
        assert await rows("SELECT state, fence, COUNT(*) AS mails FROM message GROUP BY state, fence") == [
            {"state": "sent", "fence": 1, "mails": MAILS}
        ]
        assert await rows("SELECT number, COUNT(*) AS attempts FROM attempt GROUP BY number") == [
            {"number": 1, "attempts": MAILS}
        ]
        assert len(await rows("SELECT DISTINCT worker_id FROM attempt")) == 3
    for worker in fleet.workers:
        worker.terminate()
        ended = await worker.ended()
        assert (ended.status, ended.errors.count("Traceback")) == (0, 0), ended.errors


async def test_a_worker_killed_mid_way_loses_no_mail(fleet: Fleet, postgres_url: str, eventually: Eventually) -> None:
    sending = asyncio.create_task(fleet.send_all())
    await fleet.receiver.wait_for(MAILS // 4)
    await fleet.workers[0].kill()
    sent = await sending
    await eventually(all_settled(postgres_url))

    arrived = fleet.arrived()
    assert set(arrived) == sent
    assert sum(arrived.values()) <= MAILS + CAP, "only what the killed worker had under way may arrive twice"
    async with opened(postgres_url):
        assert await rows("SELECT state, COUNT(*) AS mails FROM message GROUP BY state") == [
            {"state": "sent", "mails": MAILS}
        ]


async def test_who_waits_at_the_api_learns_the_verdict_from_the_worker(fleet: Fleet) -> None:
    fleet.receiver.script.on(Stage.RCPT, "550 5.1.1 No such user")
    refused = await fleet.apis[1].rest.send("relay", {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."})
    assert (refused.status_code, refused.json()["error"]["code"]) == (500, 550)

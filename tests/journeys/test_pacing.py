"""A service's limits hold over all workers, and what is over them waits where its author can see it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.clock import now
from app.inbox.receiver import ReceivedMail, Receiver
from tests.journeys.conftest import Eventually, Running
from tests.journeys.doors import UPDATE_SERVICE, GraphQLClient
from tests.journeys.program import ADMIN_KEY, PATIENCE, Heliograph

USAGE = "query ($name: String!) { service(name: $name) { id usage { name used limit freeAt } } }"


@dataclass
class Busy:
    """How many mails the receiver is taking right now, and at most so far. It takes none before `awaited` are there."""

    awaited: int = 0
    now: int = 0
    peak: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self) -> None:
        self.now += 1
        self.peak = max(self.peak, self.now)
        if self.peak >= self.awaited:
            self.reached.set()
        await self.reached.wait()
        # Long enough for another mail to come beside this one, if any is let.
        await asyncio.sleep(0.05)
        self.now -= 1


@dataclass(frozen=True)
class Fleet:
    """The API of one server process and two workers on PostgreSQL, and where their services lead to."""

    graphql: GraphQLClient
    receiver: Receiver
    arrived: list[datetime]
    busy: Busy

    def recipients(self) -> Counter[str]:
        """How many copies each recipient got."""
        return Counter(recipient for mail in self.receiver.mails for recipient in mail.recipients)


@pytest.fixture
async def fleet(heliograph: Heliograph, postgres_url: str) -> AsyncIterator[Fleet]:
    arrived: list[datetime] = []
    busy = Busy()

    async def note(_: ReceivedMail) -> None:
        arrived.append(now())
        await busy.take()

    installed = heliograph.having(
        database_url=postgres_url,
        secret_keys="thirty-two characters are enough for a test",
        admin_api_key=ADMIN_KEY,
    )
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver(keep=True, on_mail=note))
        server = await stack.enter_async_context(installed.serving("--no-worker"))
        workers = [await installed.start("worker") for _ in range(2)]
        for worker in workers:
            stack.push_async_callback(worker.kill)
            async with asyncio.timeout(PATIENCE):
                while "delivers mail" not in worker.output:
                    assert worker.running.returncode is None, worker.errors
                    await asyncio.sleep(0.02)
        yield Fleet(server.doors.graphql, receiver, arrived, busy)


async def send(graphql: GraphQLClient, service: str, *emails: str) -> str:
    to = [{"email": email} for email in emails]
    return (await graphql.send_email(service=service, to=to, subject="Hello", text="Hello.")).id


async def usage(graphql: GraphQLClient, name: str) -> tuple[str, list[dict[str, Any]]]:
    service = (await graphql.ask(USAGE, name=name))["service"]
    return service["id"], service["usage"]


async def test_two_workers_share_a_limit_and_what_is_over_it_waits(fleet: Fleet, eventually: Eventually) -> None:
    graphql = fleet.graphql
    await graphql.create_service("limited", port=fleet.receiver.port, recipientsPerMinute=10)
    await graphql.create_service("free", port=fleet.receiver.port)
    emails = [f"{number}@limited.example" for number in range(30)]
    began = now()
    sent = await asyncio.gather(*(send(graphql, "limited", email) for email in emails))

    async def ten_are_sent() -> bool:
        return len(await graphql.messages(service="limited", state="SENT")) >= 10

    await eventually(ten_are_sent)
    # Workers that deliver other mail meanwhile are awake, and have had every occasion to send an eleventh.
    for number in range(20):
        await send(graphql, "free", f"{number}@free.example")
        await fleet.receiver.wait_for(11 + number)

    limited = [email for email in fleet.recipients() if email.endswith("@limited.example")]
    assert len(limited) == 10
    states: Counter[tuple[str, int]] = Counter()
    for message_id in sent:
        message = await graphql.message(message_id)
        states[message.state, message.recipients[0].attempt_count] += 1
    assert states == {("SENT", 1): 10, ("QUEUED", 0): 20}
    key, (minute,) = await usage(graphql, "limited")
    free_at = datetime.fromisoformat(minute.pop("freeAt"))
    assert minute == {"name": "RECIPIENTS_PER_MINUTE", "used": 10, "limit": 10}
    assert began + timedelta(minutes=1) < free_at < now() + timedelta(seconds=61)

    await graphql.change(UPDATE_SERVICE, id=key, recipientsPerMinute=30)
    await fleet.receiver.wait_for(30 + 20)
    assert {email: fleet.recipients()[email] for email in emails} == dict.fromkeys(emails, 1)


async def test_two_workers_together_send_no_faster_than_the_rate(fleet: Fleet) -> None:
    graphql, rate, mails = fleet.graphql, 20, 40
    await graphql.create_service("even", port=fleet.receiver.port, messagesPerSecond=rate)
    began = now()
    await asyncio.gather(*(send(graphql, "even", f"{number}@x.example") for number in range(mails)))
    await fleet.receiver.wait_for(mails)

    assert set(fleet.recipients().values()) == {1}
    assert len(fleet.arrived) == mails
    for number, moment in enumerate(sorted(fleet.arrived)):
        assert moment >= began + timedelta(seconds=number / rate), "no mail arrives before its turn"


@pytest.mark.parametrize("most", [1, 7])
async def test_two_workers_together_have_no_more_under_way_than_the_service_may(fleet: Fleet, most: int) -> None:
    fleet.busy.awaited = most
    await fleet.graphql.create_service("narrow", port=fleet.receiver.port, maxConnections=most)
    await asyncio.gather(*(send(fleet.graphql, "narrow", f"{number}@x.example") for number in range(30)))
    await fleet.receiver.wait_for(30)

    assert fleet.busy.peak == most


async def test_a_mail_to_more_than_the_limit_leaves_in_parts(
    running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    emails = [f"{number:02}@x.example" for number in range(25)]
    async with running() as doors:
        graphql = doors.graphql
        await graphql.create_service("limited", port=receiver.port, recipientsPerHour=10)
        sent = await send(graphql, "limited", *emails)
        await receiver.wait_for(1)

        async def settled() -> bool:
            return (await graphql.message(sent)).state != "SENDING"

        await eventually(settled)
        message = await graphql.message(sent)
        assert message.state == "QUEUED"
        assert [(one.state, one.attempt_count) for one in message.recipients] == [("SENT", 1)] * 10 + [
            ("QUEUED", 0)
        ] * 15
        assert receiver.mails[0].recipients == tuple(emails[:10])
        key, (hour,) = await usage(graphql, "limited")
        assert (hour["name"], hour["used"], hour["limit"]) == ("RECIPIENTS_PER_HOUR", 10, 10)

        await graphql.change(UPDATE_SERVICE, id=key, recipientsPerHour=25)
        await receiver.wait_for(2)
        assert [mail.recipients for mail in receiver.mails] == [tuple(emails[:10]), tuple(emails[10:])]
        assert receiver.mails[0].content == receiver.mails[1].content

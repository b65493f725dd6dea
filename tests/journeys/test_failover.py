"""A service whose server cannot be talked to: its mail leaves by a fallback, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from app.database.connection import rows
from app.inbox.receiver import Drop, Receiver, Stage, Wait
from tests.journeys.conftest import Eventually, KeepPort, Running
from tests.journeys.doors import UPDATE_SERVICE, Doors, error_of
from tests.journeys.fleet import launched
from tests.journeys.installation import opened
from tests.journeys.program import ADMIN_KEY, Heliograph
from tests.journeys.test_circuit import are_sent

QUICK = {"queue_poll": 0.05, "wait_poll": 0.05, "retry_schedule": (0.1,), "retry_jitter": 0}
HOURLY = {**QUICK, "circuit_probe_interval": 3600}
MAIL = {"service": "first", "to": [{"email": "a@x.example"}], "subject": "Hello", "text": "Hello."}
REST_MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
READ = """
  query Read($id: ID!) {
    node(id: $id) { ... on Message {
      state
      serviceName
      explain { reasons { cause message } }
      recipients { attempts { number outcome serviceName fallbackReason } }
    } }
  }
"""


@dataclass(frozen=True)
class Place:
    """Two services, `first` with the fallback `second`, and the receiver behind each."""

    doors: Doors
    first: Receiver
    second: Receiver
    first_id: str

    async def send(self, **given: Any) -> str:
        sent = await self.doors.graphql.send_email(**{**MAIL, **given})
        return sent.id

    async def read(self, message_id: str) -> Any:
        return (await self.doors.graphql.ask(READ, id=message_id))["node"]

    async def attempts(self, message_id: str) -> list[tuple[int, str, str, str | None]]:
        (recipient,) = (await self.read(message_id))["recipients"]
        return [
            (one["number"], one["outcome"], one["serviceName"], one["fallbackReason"]) for one in recipient["attempts"]
        ]


@asynccontextmanager
async def place(running: Running, port: int, settings: dict[str, Any], **first: Any) -> AsyncIterator[Place]:
    credentials = {"me": "right"} if "username" in first else None
    async with (
        Receiver(port=port, keep=True, credentials=credentials) as one,
        Receiver(keep=True) as two,
        running(**settings) as doors,
    ):
        await doors.graphql.create_service("second", port=two.port)
        made = await doors.graphql.create_service("first", port=one.port, fallbacks=["second"], **first)
        yield Place(doors, one, two, made["id"])


async def test_with_the_first_service_down_one_copy_leaves_by_the_fallback_until_it_is_back(
    running: Running, eventually: Eventually, keep_port: KeepPort
) -> None:
    async with place(running, keep_port(), HOURLY) as at:
        await at.first.stop()
        message_id = await at.send(waitSeconds=30)
        ((number, outcome, name, reason),) = await at.attempts(message_id)
        assert (number, outcome, name) == (1, "SENT", "second")
        assert (reason or "").startswith("Connection refused")
        assert (await at.read(message_id))["serviceName"] == "first"
        assert len(at.second.mails) == 1

        answer = await at.doors.rest.send("first", REST_MAIL)
        assert (answer.status_code, answer.json()) == (200, {"count": 1})
        assert len(at.second.mails) == 2

        only_first = await at.doors.graphql.create_key({"service": "first", "actions": ["SEND"]})
        refused = await at.doors.with_key(only_first).rest.send("first", REST_MAIL)
        assert refused.status_code == 500
        assert error_of(refused)["message"].startswith("Connection refused")
        assert len(at.second.mails) == 2

        async with Receiver(keep=True) as back:
            await at.doors.graphql.change(UPDATE_SERVICE, id=at.first_id, port=back.port)
            message_id = await at.send(waitSeconds=30)
            assert await at.attempts(message_id) == [(1, "SENT", "first", None)]
            assert len(back.mails) == 1
        assert len(at.second.mails) == 2


async def test_a_mail_that_the_first_server_may_have_taken_does_not_leave_by_the_fallback(
    running: Running, eventually: Eventually, keep_port: KeepPort
) -> None:
    async with place(running, keep_port(), HOURLY) as at:
        at.first.script.on(Stage.DOT, Drop())
        message_id = await at.send()

        async def is_in_doubt() -> bool:
            return bool(await at.attempts(message_id))

        await eventually(is_in_doubt)
        await at.first.stop()

        async def is_open() -> bool:
            reasons = (await at.read(message_id))["explain"]["reasons"]
            return "CIRCUIT_OPEN" in [reason["cause"] for reason in reasons]

        await eventually(is_open)
        other = await at.send(waitSeconds=30)
        assert [name for _, _, name, _ in await at.attempts(other)] == ["second"]
        assert {name for _, _, name, _ in await at.attempts(message_id)} == {"first"}
        assert len(at.second.mails) == 1


async def test_a_wrong_password_is_tried_once_and_all_mail_leaves_by_the_fallback(
    running: Running, eventually: Eventually, keep_port: KeepPort
) -> None:
    async with place(running, keep_port(), HOURLY, username="me", password="wrong", clearTextAuth=True) as at:
        for number in range(10):
            await at.send(subject=f"Number {number}")
        await eventually(lambda: are_sent(at.doors, 10))
        assert sum(session.verbs.count("AUTH") for session in at.first.sessions) == 1
        assert len(at.second.mails) == len({mail.content for mail in at.second.mails}) == 10


async def test_with_both_down_the_mail_waits_and_tells_of_both_until_one_is_back(
    running: Running, eventually: Eventually, keep_port: KeepPort
) -> None:
    async with place(running, keep_port(), {**QUICK, "circuit_probe_interval": 0.5}) as at:
        at.second.script.on(Stage.GREETING, "554 5.3.2 closed for today")
        await at.first.stop()
        message_id = await at.send()

        async def tells_of_both() -> bool:
            reasons = " ".join(one["message"] for one in (await at.read(message_id))["explain"]["reasons"])
            return "Connection refused" in reasons and "closed for today" in reasons

        await eventually(tells_of_both)
        assert await at.attempts(message_id) == []
        at.second.script.on(Stage.GREETING, "220 ready")
        async with Receiver(port=at.first.port, keep=True) as back:
            await eventually(lambda: are_sent(at.doors, 1))
            assert len(back.mails) + len(at.second.mails) == 1
        assert [number for number, *_ in await at.attempts(message_id)] == [1]


async def test_two_workers_hold_the_fallbacks_connections_and_send_each_mail_once(
    heliograph: Heliograph, postgres_url: str, eventually: Eventually, keep_port: KeepPort
) -> None:
    keys = "thirty-two characters are enough for a test"
    installed = heliograph.having(
        database_url=postgres_url, secret_keys=keys, admin_api_key=ADMIN_KEY, circuit_probe_interval=3600
    )
    go_on = asyncio.Event()
    async with (
        Receiver(keep=True) as receiver,
        launched(installed, apis=1, workers=2, alone=False) as fleet,
    ):
        go_on.set()
        receiver.script.on(Stage.DATA, Wait(go_on))
        doors = await fleet.doors()
        await doors.graphql.create_service("second", port=receiver.port, maxConnections=3)
        await doors.graphql.create_service("first", port=keep_port(), fallbacks=["second"])
        await doors.graphql.send_email(**MAIL, waitSeconds=30)
        go_on.clear()
        for number in range(12):
            await doors.graphql.send_email(**{**MAIL, "subject": f"Number {number}"})

        async def are_full() -> bool:
            return sum(session.verbs.count("DATA") for session in receiver.sessions) - len(receiver.mails) == 3

        await eventually(are_full)
        async with opened(installed):
            assert len(await rows("SELECT id FROM message WHERE route_id <> service_id AND due_at IS NOT NULL")) == 12
        assert await are_full()
        go_on.set()
        await eventually(lambda: are_sent(doors, 13))
    assert len(receiver.mails) == len({mail.content for mail in receiver.mails}) == 13

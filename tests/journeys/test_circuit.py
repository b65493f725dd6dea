"""A server that cannot be talked to: its mail waits, no attempt counts, and hardly anybody knocks at its door."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.inbox.receiver import Drop, Receiver, Script, Stage
from tests.journeys.conftest import Eventually, KeepPort
from tests.journeys.doors import RESUME_SERVICE, UPDATE_SERVICE, Doors, error_of
from tests.journeys.program import ADMIN_KEY, PATIENCE, Heliograph, Process

SERVICE = '{ service(name: "relay") { id pausedReason circuit { openedAt reason nextProbeAt } } }'
NEVER = 3600
CAP = 5


@pytest.fixture
def installed(heliograph: Heliograph) -> Heliograph:
    return heliograph.having(admin_api_key=ADMIN_KEY, smtp_max_connections=CAP)


async def put_mails(doors: Doors, mails: int) -> None:
    for number in range(mails):
        await doors.graphql.send_email(
            service="relay", to=[{"email": f"{number}@x.example"}], subject=f"Number {number}", text="Hello."
        )


async def is_open(doors: Doors) -> bool:
    service = (await doors.graphql.ask(SERVICE))["service"]
    assert (service["pausedReason"] or "").startswith((service["circuit"] or {"reason": ""})["reason"])
    return service["circuit"] is not None


async def all_are_sent(doors: Doors) -> bool:
    return {message.state for message in await doors.graphql.messages()} == {"SENT"}


async def attempt_numbers(doors: Doors) -> list[int]:
    messages = await doors.graphql.messages()
    return [
        attempt.number for message in messages for recipient in message.recipients for attempt in recipient.attempts
    ]


async def test_mail_waits_for_a_server_that_is_down_and_leaves_with_its_first_attempt(
    installed: Heliograph, eventually: Eventually, keep_port: KeepPort
) -> None:
    port = keep_port()
    async with installed.serving() as server:
        doors = server.doors
        await doors.graphql.create_service("relay", port=port)
        await put_mails(doors, 20)
        await eventually(lambda: is_open(doors))
        assert await attempt_numbers(doors) == []
        async with Receiver(port=port, keep=True) as receiver:
            await eventually(lambda: all_are_sent(doors))
            assert len(receiver.mails) == 20
        assert await attempt_numbers(doors) == [1] * 20
        assert not await is_open(doors)
        assert "circuit open, its mail waits. Connection refused" in server.errors
        assert "circuit closed" in server.errors


async def test_one_probe_at_a_time_knocks_at_the_door(installed: Heliograph, eventually: Eventually) -> None:
    script = Script().on(Stage.GREETING, Drop())
    async with (
        Receiver(script=script, keep=True) as receiver,
        installed.having(circuit_probe_interval=NEVER).serving() as server,
    ):
        doors = server.doors
        await doors.graphql.create_service("relay", port=receiver.port)
        await put_mails(doors, 1)
        await eventually(lambda: is_open(doors))
        await put_mails(doors, 20)
        service_id = (await doors.graphql.ask(SERVICE))["service"]["id"]
        for probes in (1, 2, 3):
            assert len(receiver.sessions) == probes
            refused = await doors.rest.send("relay", {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."})
            assert refused.status_code == 500
            assert error_of(refused)["message"].startswith("Connection refused")
            await doors.graphql.change(RESUME_SERVICE, id=service_id)
            await eventually(lambda: is_open(doors))
        assert await attempt_numbers(doors) == []


@asynccontextmanager
async def workers_of(installed: Heliograph) -> AsyncIterator[list[Process]]:
    workers = [await installed.start("worker") for _ in range(2)]
    try:
        async with asyncio.timeout(PATIENCE):
            while not all("delivers mail" in worker.output for worker in workers):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield workers
    finally:
        for worker in workers:
            await worker.kill()


async def test_a_wrong_password_is_tried_once_by_two_workers_with_fifty_mails(
    installed: Heliograph, postgres_url: str, eventually: Eventually
) -> None:
    keys = "thirty-two characters are enough for a test"
    installed = installed.having(database_url=postgres_url, secret_keys=keys)
    async with (
        Receiver(credentials={"me": "right"}, keep=True) as receiver,
        installed.serving("--no-worker") as server,
    ):
        doors = server.doors
        await doors.graphql.create_service("relay", port=receiver.port, username="me", password="wrong")
        await put_mails(doors, 50)
        async with workers_of(installed):
            await eventually(lambda: is_open(doors))
            refused = await doors.rest.send("relay", {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."})
            assert (refused.status_code, error_of(refused)["code"]) == (500, 535)
            assert [session.verbs.count("AUTH") for session in receiver.sessions] == [1]
            assert await attempt_numbers(doors) == []

            service_id = (await doors.graphql.ask(SERVICE))["service"]["id"]
            await doors.graphql.change(UPDATE_SERVICE, id=service_id, password="right")
            async with asyncio.timeout(PATIENCE):
                await receiver.wait_for(50)
            await eventually(lambda: are_sent(doors, 50))
            assert len(receiver.mails) == 50
            assert await attempt_numbers(doors) == [1] * 50


async def are_sent(doors: Doors, mails: int) -> bool:
    return len(await doors.graphql.messages(state="SENT")) == mails

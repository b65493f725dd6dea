"""SIGTERM ends gently and soon, a second one at once; either way what was acknowledged arrives, and arrives once."""

import asyncio
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest

from app.inbox.receiver import Hang, Receiver, Stage, Wait
from tests.journeys.conftest import Eventually, KeepPort
from tests.journeys.doors import Doors
from tests.journeys.program import ADMIN_KEY, Heliograph, Process, Server
from tests.journeys.reading import read_mail

REST_MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}


@pytest.fixture(params=["sqlite", "postgres"])
def installed(request: pytest.FixtureRequest, heliograph: Heliograph) -> Heliograph:
    """The program on each database. Its leases do not run out during a test: what leaves again was released."""
    url = "sqlite://heliograph.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    secret = "thirty-two characters are enough for a test"
    return heliograph.having(database_url=url, secret_keys=secret, admin_api_key=ADMIN_KEY)


@asynccontextmanager
async def delivering(installed: Heliograph, verb: str) -> AsyncIterator[tuple[Process, Doors]]:
    """The process that delivers, which is `serve` or `worker`, and the doors of one that takes mail all the time."""
    async with installed.serving("--no-worker") as front:
        if verb == "worker":
            process = await installed.start("worker")
            yield process, front.doors
        else:
            async with installed.serving() as server:
                yield server, front.doors


def graphql_mail(number: int, **more: Any) -> dict[str, Any]:
    return {"service": "relay", "to": [{"email": f"{number}@x.example"}], "subject": "Hello", "text": "Hello.", **more}


async def send(doors: Doors, count: int) -> list[str]:
    return [(await doors.graphql.send_email(**graphql_mail(number))).message_id_header for number in range(count)]


async def all_are_sent(doors: Doors) -> bool:
    return {message.state for message in await doors.graphql.messages()} == {"SENT"}


def arrived(*receivers: Receiver) -> Counter[str]:
    return Counter(read_mail(mail.content).message_id for receiver in receivers for mail in receiver.mails)


@pytest.mark.parametrize(("verb", "stage"), [("serve", Stage.DATA), ("worker", Stage.GREETING)])
async def test_a_server_that_hangs_before_the_final_dot_holds_nothing_up_and_the_mail_leaves_at_once_with_the_next(
    installed: Heliograph, eventually: Eventually, keep_port: KeepPort, verb: str, stage: Stage
) -> None:
    installed = installed.having(drain_timeout=0.5)
    async with Receiver(port=keep_port(), keep=True) as hanging:
        hanging.script.on(stage, Hang())
        async with delivering(installed, verb) as (process, doors):
            await doors.graphql.create_service("relay", port=hanging.port)
            sent = await send(doors, 3)

            async def all_hang() -> bool:
                return len(hanging.sessions) == 3

            await eventually(all_hang)
            process.terminate()
            ended = await process.ended()
            assert (ended.status, "Traceback" in ended.errors) == (0, False), ended.errors
            messages = await doors.graphql.messages()
            assert {message.state for message in messages} == {"QUEUED"}
            assert {message.recipients[0].attempt_count for message in messages} == {0}
    async with Receiver(port=hanging.port, keep=True) as receiver, installed.serving() as server:
        await eventually(lambda: all_are_sent(server.doors))
        assert arrived(hanging, receiver) == Counter(sent)


@pytest.mark.parametrize("verb", ["serve", "worker"])
async def test_a_slow_server_that_answers_in_time_has_its_mail_settled_before_the_end(
    installed: Heliograph, receiver: Receiver, eventually: Eventually, verb: str
) -> None:
    answer = asyncio.Event()
    receiver.script.on(Stage.DOT, Wait(answer))
    async with delivering(installed, verb) as (process, doors):
        await doors.graphql.create_service("relay", port=receiver.port)
        sent = await send(doors, 3)

        async def all_came_to_the_dot() -> bool:
            return sum(b"\r\n.\r\n" in session.received for session in receiver.sessions) == 3

        await eventually(all_came_to_the_dot)
        process.terminate()
        await eventually(lambda: is_stopping(process))
        late = await send(doors, 1)
        answer.set()
        ended = await process.ended()
        assert (ended.status, "Traceback" in ended.errors) == (0, False), ended.errors
        states = Counter(message.state for message in await doors.graphql.messages())
        assert states == {"SENT": 3, "QUEUED": 1}, "what was under way is finished, and nothing new is begun"
        assert arrived(receiver) == Counter(sent)
    async with installed.serving() as server:
        await eventually(lambda: all_are_sent(server.doors))
    assert arrived(receiver) == Counter(sent + late)


@pytest.mark.parametrize(("verb", "number"), [("serve", signal.SIGINT), ("worker", signal.SIGTERM)])
async def test_a_second_signal_ends_it_at_once_and_the_mail_leaves_when_the_lease_ends(
    installed: Heliograph, eventually: Eventually, keep_port: KeepPort, verb: str, number: signal.Signals
) -> None:
    installed = installed.having(lease=2, lease_renewal=0.4)
    async with Receiver(port=keep_port(), keep=True) as hanging:
        hanging.script.on(Stage.DATA, Hang())
        async with delivering(installed, verb) as (process, doors):
            await doors.graphql.create_service("relay", port=hanging.port)
            sent = await send(doors, 3)

            async def all_hang() -> bool:
                return len(hanging.sessions) == 3

            await eventually(all_hang)
            process.running.send_signal(number)
            await eventually(lambda: is_stopping(process))
            process.running.send_signal(number)
            assert (await process.ended()).status != 0
            assert {message.state for message in await doors.graphql.messages()} == {"SENDING"}
    async with Receiver(port=hanging.port, keep=True) as receiver, installed.serving() as server:
        await eventually(lambda: all_are_sent(server.doors))
        assert arrived(hanging, receiver) == Counter(sent)


async def is_stopping(process: Process) -> bool:
    """Whether it has noticed the signal."""
    return "stopping: " in process.errors


@pytest.fixture
async def hung(
    request: pytest.FixtureRequest, heliograph: Heliograph, receiver: Receiver, eventually: Eventually
) -> AsyncIterator[Server]:
    """A server told to stop, in so many seconds, while a result waits for a database that lets nobody write."""
    installed = heliograph.having(
        admin_api_key=ADMIN_KEY, database_busy_timeout=60, drain_timeout=0.5, stop_timeout=request.param
    )
    answer = asyncio.Event()
    receiver.script.on(Stage.DOT, Wait(answer))
    async with installed.serving() as server:
        await server.doors.graphql.create_service("relay", port=receiver.port)
        await send(server.doors, 1)

        async def came_to_the_dot() -> bool:
            return any(b"\r\n.\r\n" in session.received for session in receiver.sessions)

        await eventually(came_to_the_dot)
        with closing(sqlite3.connect(heliograph.folder / "heliograph.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer.set()
            await receiver.wait_for(1)
            server.terminate()
            await eventually(lambda: is_stopping(server))
            yield server


@pytest.mark.parametrize("hung", [1], indirect=True)
async def test_whatever_hangs_the_process_has_ended_in_time(hung: Server) -> None:
    ended = await hung.ended()
    assert ended.status == 1
    assert "Timeout" in ended.errors, "it says where it hung"


@pytest.mark.parametrize("hung", [60], indirect=True)
async def test_a_second_signal_ends_it_though_the_database_hangs(hung: Server) -> None:
    hung.terminate()
    ended = await hung.ended()
    assert (ended.status, "Timeout" in ended.errors) == (-signal.SIGTERM, False)

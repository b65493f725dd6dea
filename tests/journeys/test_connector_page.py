"""Every example of the SMTP connector's page, sent as its clients send it, read back where it arrives."""

import asyncio
import json
from base64 import b64encode
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app.inbox.receiver import Receiver
from tests.journeys.conftest import Peer, Running
from tests.journeys.doors import Doors
from tests.journeys.program import ADMIN_KEY, Heliograph
from tests.journeys.reading import File, Mail, read_mail
from tests.programs import find_program

PDF = b"%PDF-1.4\r\n%\xe2\xe3\xcf\xd3\n" + bytes(range(256)) * 20 + b"\n%%EOF\n"
DEFAULT_SENDER = {"fromEmail": "noreply@shop.example", "fromName": "The Shop", "replyToEmail": "help@shop.example"}

AS_SENT_BY_DEFAULT = Mail(
    sender="The Shop <noreply@shop.example>",
    to="Ann Example <ann@example.com>",
    cc=None,
    reply_to="help@shop.example",
    subject=None,
    message_id="",
    date="",
    text=None,
    html=None,
    files=(),
)


@dataclass(frozen=True)
class Example:
    """A request body, and what must arrive; `arrives` leaves out Message-ID and Date."""

    body: dict[str, Any]
    recipients: tuple[str, ...]
    arrives: Mail
    reverse_path: str = "noreply@shop.example"


EXAMPLES = {
    "basic": Example(
        {
            "to": [{"email": "ann@example.com", "name": "Ann Example"}],
            "subject": "A first mail",
            "body_text": "One line of text.",
        },
        ("ann@example.com",),
        replace(AS_SENT_BY_DEFAULT, subject="A first mail", text="One line of text.\r\n"),
    ),
    "html": Example(
        {
            "to": [{"email": "ann@example.com", "name": "Ann Example"}],
            "subject": "Order #4711: thank you",
            "body_html": "<html><head><style>p{color:red}</style></head><body><p>Grüße, {name}</p></body></html>",
            "body_text": "Ordered.\n\nGrüße.",
        },
        ("ann@example.com",),
        replace(
            AS_SENT_BY_DEFAULT,
            subject="Order #4711: thank you",
            text="Ordered.\r\n\r\nGrüße.\r\n",
            html="<html><head><style>p{color:red}</style></head><body><p>Grüße, {name}</p></body></html>\r\n",
        ),
    ),
    "multiple recipients": Example(
        {
            "to": [
                {"email": "ann@example.com", "name": "Ann Example"},
                {"email": "bob@example.com", "name": "Bob, the Second"},
            ],
            "cc": [{"email": "carl@example.com", "name": "Carl"}, "Dora <dora@example.com>"],
            "bcc": [{"email": "archive@example.com"}, "hidden@example.com"],
            "subject": "To all",
            "body_text": "This week...",
        },
        (
            "ann@example.com",
            "bob@example.com",
            "carl@example.com",
            "dora@example.com",
            "archive@example.com",
            "hidden@example.com",
        ),
        replace(
            AS_SENT_BY_DEFAULT,
            to='Ann Example <ann@example.com>, "Bob, the Second" <bob@example.com>',
            cc="Carl <carl@example.com>, Dora <dora@example.com>",
            subject="To all",
            text="This week...\r\n",
        ),
    ),
    "custom sender": Example(
        {
            "to": [{"email": "ann@example.com"}],
            "from_name": "Jürgen of Support",
            "from_email": "support@other.example",
            "reply_to_email": "tickets@other.example",
            "reply_to_name": "Tickets",
            "subject": "Re: your question",
            "body_text": ".\n..\nFrom here\n",
        },
        ("ann@example.com",),
        replace(
            AS_SENT_BY_DEFAULT,
            sender="Jürgen of Support <support@other.example>",
            to="ann@example.com",
            reply_to="Tickets <tickets@other.example>",
            subject="Re: your question",
            text=".\r\n..\r\nFrom here\r\n",
        ),
        reverse_path="support@other.example",
    ),
    "attachment": Example(
        {
            "to": [{"email": "ann@example.com"}],
            "subject": "Your invoice",
            "body_text": "Attached.",
            "attachments": [
                {
                    "name": "invoice-2026-001.pdf",
                    "content": b64encode(PDF).decode(),
                    "content_type": "application/pdf",
                },
                {"name": "Übersicht.csv", "content": b64encode(b"a;b\r\n1;2\r\n").decode()},
            ],
        },
        ("ann@example.com",),
        replace(
            AS_SENT_BY_DEFAULT,
            to="ann@example.com",
            subject="Your invoice",
            text="Attached.\r\n",
            files=(
                File("invoice-2026-001.pdf", "application/pdf", PDF),
                File("Übersicht.csv", "text/csv", b"a;b\r\n1;2\r\n"),
            ),
        ),
    ),
    "template data": Example(
        {
            "to": [{"email": "ann@example.com"}],
            "subject": "Welcome, {first_name}!",
            "body_html": "<h1>{company}</h1><p>Hello {first_name}, {unknown}</p>",
            "body_text": "{company}\n\nHello {first_name}, {unknown}",
            "template_data": {"first_name": "Ann", "company": "Ångström & Søns"},
        },
        ("ann@example.com",),
        replace(
            AS_SENT_BY_DEFAULT,
            to="ann@example.com",
            subject="Welcome, Ann!",
            text="Ångström & Søns\r\n\r\nHello Ann, {unknown}\r\n",
            html="<h1>Ångström &amp; Søns</h1><p>Hello Ann, {unknown}</p>\r\n",
        ),
    ),
}


async def make_service(doors: Doors, port: int) -> None:
    await doors.graphql.create_service("shop", port=port, **DEFAULT_SENDER)


def assert_arrived(example: Example, reverse_path: str, recipients: tuple[str, ...], content: bytes) -> None:
    assert (reverse_path, recipients) == (example.reverse_path, example.recipients)
    mail = read_mail(content)
    assert replace(mail, message_id="", date="") == example.arrives
    assert mail.message_id.endswith(f"@{example.reverse_path.partition('@')[2]}>")
    assert mail.date.endswith("+0000")
    for hidden in ("archive@example.com", "hidden@example.com"):
        assert hidden.encode() not in content


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_is_answered_with_its_count_and_arrives(name: str, peer: Peer, running: Running) -> None:
    example = EXAMPLES[name]
    async with running() as doors:
        await make_service(doors, peer.port)
        response = await doors.rest.send("shop", example.body)
        assert (response.status_code, response.text) == (200, f'{{"count":{len(example.recipients)}}}')
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-message-status"] == "sent"
    [arrival] = peer.arrivals
    assert_arrived(example, arrival.reverse_path, arrival.recipients, arrival.content)


async def test_curl_sends_every_example_to_the_real_server(heliograph: Heliograph, receiver: Receiver) -> None:
    curl = find_program("curl", "curl")
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        await make_service(server.doors, receiver.port)
        for example in EXAMPLES.values():
            process = await asyncio.create_subprocess_exec(
                *(curl, "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"),
                *("-X", "POST", f"{server.url}/api/v2/shop"),
                *("-H", f"X-DreamFactory-API-Key: {ADMIN_KEY}", "-H", "Content-Type: application/json"),
                *("-d", json.dumps(example.body, indent=2)),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            assert output.decode() == f'{{"count":{len(example.recipients)}}}\n200'
    assert len(receiver.mails) == len(EXAMPLES)
    for example, mail in zip(EXAMPLES.values(), receiver.mails, strict=True):
        assert_arrived(example, mail.reverse_path, mail.recipients, mail.content)

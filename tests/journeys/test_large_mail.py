"""A mail too large for memory is the same mail: by every way in, on both databases, to whoever reads it."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from app import json_body
from app.inbox.receiver import Receiver
from app.spool import Spool
from tests.factories import count
from tests.journeys.conftest import Running
from tests.journeys.doors import Doors
from tests.journeys.reading import File, read_mail

LARGE = {"spool_over": 2000, "spool_string_over": 500, "content_slice_bytes": 3000}
OCTETS = bytes(range(256)) * 40 + b"\r\n.\r\n"
TEXT = 'Grüße, \\ "you" {name}\r\n.\r\n' * 80
FILE = {"name": "a.bin", "content": "\r\n".join(b64encode(OCTETS[n : n + 57]).decode() for n in range(0, 10245, 57))}
METADATA = {"attachments": [{"content": "kept " * 200}]}


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Spool]]:
    """What went to files; and a request that comes in one piece is looked through in small ones."""
    made: list[Spool] = []

    class Noted(Spool):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(json_body, "Spool", Noted)
    monkeypatch.setattr(json_body, "_PIECE", 300)
    return iter([made])


async def by_rest(doors: Doors) -> None:
    mail = {"to": "b@x.example", "subject": "Hello", "body_text": TEXT, "template_data": {"name": "Bob"}}
    response = await doors.rest.send("relay", mail | {"attachments": [FILE], "order": METADATA})
    assert response.json() == {"count": 1}


async def by_graphql(doors: Doors) -> None:
    given = {"service": "relay", "to": [{"email": "b@x.example"}], "subject": "Hello", "text": TEXT}
    message = await doors.graphql.send_email(
        **given, templateData={"name": "Bob"}, attachments=[FILE], metadata=METADATA, waitSeconds=30
    )
    assert message.state == "SENT"


async def by_a_form(doors: Doors) -> None:
    fields = {"to": "b@x.example", "subject": "Hello", "body_text": TEXT, "name": "Bob"}
    files = {"file": ("a.bin", OCTETS)}
    headers = {"X-API-Key": doors.api_key or ""}
    response = await doors.http.post("/api/v2/relay", data=fields, files=files, headers=headers)
    assert response.json() == {"count": 1}


async def test_a_large_mail_arrives_as_a_small_one_by_every_way(
    running: Running, receiver: Receiver, spooled: Iterator[list[Spool]]
) -> None:
    made = next(spooled)
    async with running() as doors:
        await doors.graphql.create_service("relay", port=receiver.port)
        await by_rest(doors)
        assert (len(made), await count("content_slice")) == (0, 0)
    async with running(**LARGE) as doors:
        for way in (by_rest, by_graphql, by_a_form):
            await way(doors)
        assert len(made) == 6, "of both JSON bodies the text, the file and the text in the metadata"
        assert await count("large_content") == 3
        assert await count("message_content") == 1
        stored = await doors.graphql.ask("{ messages(first: 9) { nodes { metadata } } }")
    assert METADATA in [node["metadata"] for node in stored["messages"]["nodes"]]
    small, *large = [read_mail(mail.content) for mail in receiver.mails]
    expected = TEXT.replace("{name}", "Bob")
    assert small.text == expected
    assert small.files == (File("a.bin", "application/octet-stream", OCTETS),)
    assert [(mail.text, mail.files) for mail in large] == [(small.text, small.files)] * 3

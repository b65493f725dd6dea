"""The migration page: its program and its GraphQL run as they stand there, and what it says of requests holds."""

import asyncio
import json
import re
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from app.inbox.receiver import Receiver, Script, Stage, Wait
from tests.journeys.conftest import Running
from tests.journeys.doors import Doors, error_of
from tests.journeys.program import ADMIN_KEY, ROOT, Heliograph, Server
from tests.journeys.reading import read_mail

PAGE = (ROOT / "docs" / "from-dreamfactory.md").read_text()

COMMON = {"attachment": None, "created_date": "2024-03-01 10:00:00", "last_modified_date": "2024-03-01 10:00:00"}
EXPORT = {
    "resource": [
        {
            "id": 1,
            "name": "User Invite",
            "description": "Email sent to invite new users to your DreamFactory instance.",
            "to": None,
            "cc": None,
            "bcc": None,
            "subject": "[DF] New User Invitation",
            "body_text": None,
            "body_html": '<div style="padding: 1em;">Hi {first_name}, see {company}: <a href="{link}">Go</a></div>',
            "from_name": "DO NOT REPLY",
            "from_email": "no-reply@dreamfactory.example",
            "reply_to_name": None,
            "reply_to_email": None,
            "defaults": None,
        },
        {
            "id": 4,
            "name": "order",
            "description": None,
            "to": [{"name": "Orders", "email": "orders@example.com"}, {"email": "copy@example.com"}],
            "cc": "Ann Example <ann@example.com>, bob@example.com",
            "bcc": ["archive@example.com"],
            "subject": "Order {order}",
            "body_text": "{greeting}, {name}!\r\n\r\n{shop}",
            "body_html": "",
            "from_name": "",
            "from_email": None,
            "reply_to_name": "Help",
            "reply_to_email": "help@example.com",
            "defaults": {"greeting": "Hello", "shop": "Tom & Sons", "unused": None},
        },
        {
            "id": 9,
            "name": "Plain",
            "description": "",
            "to": {"name": "Eve", "email": "eve@example.com"},
            "cc": "",
            "bcc": [],
            "subject": "Plain",
            "body_text": "Plain.",
            "body_html": None,
            "from_name": None,
            "from_email": None,
            "reply_to_name": None,
            "reply_to_email": None,
            "defaults": '{"count": 12, "urgent": true}',
        },
    ]
}
STORED = """{ templates(first: 100) { nodes { number name updatedAt versions(first: 10) { nodes { number } } current {
  subject text html fromEmail fromName replyToEmail replyToName
  to { name email } cc { name email } bcc { name email } variables { name default } } } } }"""


def code(language: str) -> list[str]:
    """The page's blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the page's program, and an export as DreamFactory writes it."""
    folder = tmp_path / "desk"
    folder.mkdir()
    [program] = code("python")
    (folder / "move.py").write_text(program)
    export = {"resource": [old | COMMON for old in EXPORT["resource"]]}
    (folder / "email_template.json").write_text(json.dumps(export))
    return folder


async def move(desk: Path, server: Server, key: str = ADMIN_KEY) -> tuple[int, str, str]:
    """Run the program; its status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "move.py"),
        cwd=desk,
        env={"KEY": key, "HELIOGRAPH": server.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def stored(doors: Doors) -> list[Any]:
    """Every template, by number."""
    nodes: list[Any] = (await doors.graphql.ask(STORED))["templates"]["nodes"]
    return sorted(nodes, key=lambda node: int(node["number"]))


async def test_services_and_templates_move_as_the_page_says(
    desk: Path, heliograph: Heliograph, certificate: ssl.SSLContext, ca_file: Path
) -> None:
    credentials = {"shop@example.com": "..."}
    async with (
        Receiver(keep=True, tls=certificate, credentials=credentials) as receiver,
        heliograph.having(admin_api_key=ADMIN_KEY, trusted_ca_file=ca_file).serving() as server,
    ):
        make_room, create = code("graphql")
        await make_service(server.doors, make_room, create, receiver.port)
        assert await move(desk, server, "another key") == (1, "", "Invalid API key.\n")
        status, output, errors = await move(desk, server)
        assert (status, errors) == (0, "")
        assert [line.partition(" {")[0] for line in output.splitlines()] == ["User Invite", "order", "Plain"]
        first = await stored(server.doors)
        assert_moved(first)
        await send_with_templates(server.doors)
        _, output, _ = await move(desk, server)
        taken = [
            f'{name} ["There is a template named {name!r} already."]' for name in ("User Invite", "order", "Plain")
        ]
        assert output.splitlines() == taken
        assert await stored(server.doors) == first
    assert [mail.username for mail in receiver.mails] == ["shop@example.com"] * 2
    assert_arrived(*[mail.content for mail in receiver.mails])


async def make_service(doors: Doors, make_room: str, create: str, port: int) -> None:
    """The page's mutations, with a host and port of this machine."""
    sandbox = (await doors.graphql.ask('{ service(name: "email") { id } }'))["service"]["id"]
    renamed = (await doors.graphql.ask(make_room.replace('"svc_..."', f'"{sandbox}"')))["updateService"]
    assert renamed["userErrors"] == []
    local = create.replace("smtp.example.com", "127.0.0.1").replace("port: 587", f"port: {port}")
    made = (await doors.graphql.ask(local))["createService"]
    assert (made["service"]["name"], made["userErrors"]) == ("email", [])


async def send_with_templates(doors: Doors) -> None:
    invite = {"to": "ann@example.com", "first_name": "Ann", "template_data": {"company": "A & B"}}
    sent = await doors.rest.send("email", {"template": "user invite", **invite})
    assert (sent.status_code, sent.text) == (200, '{"count":1}')
    sent = await doors.rest.send("email", {"template_id": 4, "order": 4711, "name": "Ann"})
    assert (sent.status_code, sent.text) == (200, '{"count":5}')


def assert_moved(templates: list[Any]) -> None:
    assert [(node["number"], node["name"]) for node in templates] == [(1, "User Invite"), (4, "order"), (9, "Plain")]
    invite, order, plain = (node["current"] for node in templates)
    assert (invite["subject"], invite["text"], invite["to"]) == ("[DF] New User Invitation", None, [])
    assert (invite["fromName"], invite["fromEmail"]) == ("DO NOT REPLY", "no-reply@dreamfactory.example")
    assert [mailbox["email"] for mailbox in order["to"]] == ["orders@example.com", "copy@example.com"]
    assert order["cc"] == [
        {"name": "Ann Example", "email": "ann@example.com"},
        {"name": None, "email": "bob@example.com"},
    ]
    assert order["variables"] == [
        {"name": "greeting", "default": "Hello"},
        {"name": "shop", "default": "Tom & Sons"},
    ]
    assert plain["variables"] == [{"name": "count", "default": "12"}, {"name": "urgent", "default": "true"}]
    assert (plain["to"], plain["cc"], plain["bcc"]) == ([{"name": "Eve", "email": "eve@example.com"}], [], [])


def assert_arrived(invite_content: bytes, order_content: bytes) -> None:
    invite, order = read_mail(invite_content), read_mail(order_content)
    assert invite.sender == "DO NOT REPLY <no-reply@dreamfactory.example>"
    link = '<a href="{link}">Go</a>'
    assert invite.html == f'<div style="padding: 1em;">Hi Ann, see A &amp; B: {link}</div>\r\n'
    assert (order.sender, order.reply_to) == ("Shop <shop@example.com>", "Help <help@example.com>")
    assert (order.to, order.cc) == (
        "Orders <orders@example.com>, copy@example.com",
        "Ann Example <ann@example.com>, bob@example.com",
    )
    assert (order.subject, order.text) == ("Order 4711", "Hello, Ann!\r\n\r\nTom & Sons\r\n")


MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
BAD = "The field 'attachment' names a file by something else than an http or https URL."

REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "what is no address": ({"to": "a@x.example b@x.example"}, 400, "Invalid email - 'a@x.example b@x.example'."),
    "a storage service": ({"attachment": {"service": "files", "path": "a.pdf"}}, 400, BAD),
    "a file of the server": ({"attachment": "/etc/passwd"}, 400, BAD),
    "a line break in the subject": ({"subject": "Hello\r\nBcc: eve@x.example"}, 400, ""),
    "a line break by a variable": ({"subject": "Hello {name}", "name": "x\r\nBcc: eve@x.example"}, 400, ""),
    "a line break in a name": ({"from_name": "x\nBcc: eve@x.example"}, 400, ""),
    "an unknown template": ({"template": "none"}, 404, "Email Template 'none' not found"),
}

ARRIVES: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "a list with commas": ({"to": "a@x.example, B <b@x.example>"}, 2, "text", "Hello."),
    "a list with semicolons": ({"to": "a@x.example; b@x.example"}, 2, "text", "Hello."),
    "lookups": ({"body_text": "{df.host_url} {lookup} {{x}}", "y": 1}, 1, "text", "{df.host_url} {lookup} {{x}}"),
    "other names": (
        {"body_text": "{first-name} {1st}", "first-name": "x", "1st": "x"},
        1,
        "text",
        "x x",
    ),
    "raw at top level": ({"body_html": "{v}", "v": "<b>"}, 1, "html", "<b>"),
    "escaped in template_data": ({"body_html": "{v}", "template_data": {"v": "<b>"}}, 1, "html", "&lt;b&gt;"),
    "one pass": ({"body_text": "{a} {b}", "a": "{b}", "b": "{a}"}, 1, "text", "{b} {a}"),
    "the sender's fields": ({"body_text": "{from_email} {subject}"}, 1, "text", "me@sender.example Hello"),
}


async def test_what_the_page_says_is_refused_is(sqlite_running: Running, receiver: Receiver) -> None:
    async with sqlite_running() as doors:
        await doors.graphql.create_service("shop", port=receiver.port)
        await doors.graphql.create_service("nobody", port=receiver.port, fromEmail=None)
        for what, (given, status, message) in REFUSED.items():
            error = error_of(await doors.rest.send("shop", MAIL | given))
            assert (error["status_code"], error["message"][: len(message)]) == (status, message), what
        assert error_of(await doors.rest.send("nobody", MAIL))["status_code"] == 400
        headers = {"X-API-Key": ADMIN_KEY, "Content-Type": "application/xml", "Accept": "application/xml"}
        xml = await doors.http.post("/api/v2/shop", content="<mail><to>a@x.example</to></mail>", headers=headers)
        assert error_of(xml)["message"] == "Invalid or malformed JSON."
        session = {"X-DreamFactory-Session-Token": "eyJ0eXAiOiJKV1QifQ.e30.x"}
        assert error_of(await doors.http.post("/api/v2/shop", json=MAIL, headers=session))["status_code"] == 401
    assert receiver.mails == []


async def test_what_the_page_says_arrives_does(sqlite_running: Running, receiver: Receiver) -> None:
    async with sqlite_running() as doors:
        await doors.graphql.create_service("shop", port=receiver.port)
        for what, (given, count, _, _) in ARRIVES.items():
            sent = await doors.rest.send("shop", MAIL | given)
            assert (sent.status_code, sent.text) == (200, f'{{"count":{count}}}'), what
    for (what, (_, _, part, expected)), mail in zip(ARRIVES.items(), receiver.mails, strict=True):
        assert getattr(read_mail(mail.content), part) == f"{expected}\r\n", what


async def test_a_hiccup_of_the_server_is_queued_and_counts_are_what_was_accepted(sqlite_running: Running) -> None:
    script = Script().on(Stage.RCPT, "550 5.1.1 no such user", address="b@x.example")
    answered = asyncio.Event()
    script.on(Stage.DOT, "451 4.3.0 a hiccup", times=1).on(Stage.DOT, Wait(answered))
    async with Receiver(keep=True, script=script) as receiver, sqlite_running(retry_schedule=(0.1,)) as doors:
        await doors.graphql.create_service("shop", port=receiver.port)
        sent = await doors.rest.send("shop", MAIL | {"to": "a@x.example, b@x.example"})
        assert (sent.status_code, sent.text) == (200, '{"count":1}')
        assert sent.headers["x-message-status"] == "queued"
        answered.set()
        async with asyncio.timeout(30):
            [mail] = await receiver.wait_for(1)
    assert mail.recipients == ("a@x.example",)

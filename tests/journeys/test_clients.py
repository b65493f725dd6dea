"""Programs that were written for the connector, run as they are against the real server."""

import asyncio
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.inbox.receiver import Receiver
from tests.journeys.program import ADMIN_KEY, Heliograph
from tests.journeys.reading import File, Mail, read_mail
from tests.programs import find_program

CLIENTS = Path(__file__).parent / "clients"
FORMS = ("json", "untyped", "form", "multipart")
PDF = b"%PDF-1.4\r\n%\xe2\xe3\xcf\xd3\n" + bytes(range(256)) * 20 + b"\n%%EOF\n"
TERMS = b"No returns.\n--\nThe Shop\n"
RECIPIENTS = ("ann@example.com", "bob@example.com", "carl@example.com", "archive@example.com")
ARRIVES = Mail(
    sender="The Shop <shop@example.com>",
    to='Ann Exämple <ann@example.com>, "Bob, Jr." <bob@example.com>',
    cc="carl@example.com",
    reply_to=None,
    subject="Order 4711: 50% & more",
    message_id="",
    date="",
    text="Grüße, Ann!\r\n\r\nTotal: 12 € + shipping\r\n",
    html='<p style="color:red">Grüße, <b>Ann</b>!</p>\r\n<p>1 &lt; 2</p>\r\n',
    files=(),
)
FILES = (File("Rechnung März.pdf", "application/pdf", PDF), File("terms.txt", "text/plain", TERMS))
OF_ITS_OWN = re.compile(rb"^(Message-ID|Date):.*\r\n|(?<==_)[0-9a-f]+(?=_)", re.MULTILINE)


@pytest.fixture(params=["curl", "requests", "fetch", "php"])
def client(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """How the client is called, before its arguments."""
    match request.param:
        case "curl":
            find_program("curl", "curl")
            return (find_program("bash", "bash"), str(CLIENTS / "send.sh"))
        case "requests":
            return (sys.executable, str(CLIENTS / "send.py"))
        case "fetch":
            return (find_program("node", "nodejs"), str(CLIENTS / "send.mjs"))
        case _:
            return (find_program("php", "php-cli php-curl"), str(CLIENTS / "send.php"))


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The folder that the client runs in, with the files to attach."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "Rechnung März.pdf").write_bytes(PDF)
    (folder / "terms.txt").write_bytes(TERMS)
    return folder


async def run(client: tuple[str, ...], desk: Path, url: str, *arguments: str, key: str = ADMIN_KEY) -> tuple[int, str]:
    """The exit status, and what the client says: of failures on standard error, but curl."""
    environment = {"PATH": os.environ["PATH"], "BASE_URL": url, "API_KEY": key}
    process = await asyncio.create_subprocess_exec(
        *(*client, *arguments),
        cwd=desk,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, (output or errors).decode()


async def test_every_form_is_the_same_mail_and_an_error_the_client_s_usual_failure(
    client: tuple[str, ...], desk: Path, heliograph: Heliograph, receiver: Receiver
) -> None:
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        await server.doors.graphql.create_service("shop", port=receiver.port)
        for form in FORMS:
            assert await run(client, desk, server.url, form, "shop") == (0, '{"count":4}')
        unknown = await run(client, desk, server.url, "json", "shopp")
        unauthenticated = await run(client, desk, server.url, "multipart", "shop", key="another")
    assert_failed(client, unknown, 404, "Could not find a service for shopp")
    assert_failed(client, unauthenticated, 401, "Invalid API key.")
    for form, mail in zip(FORMS, receiver.mails, strict=True):
        assert (mail.reverse_path, mail.recipients) == ("shop@example.com", RECIPIENTS)
        assert b"archive" not in mail.content
        arrived = replace(read_mail(mail.content), message_id="", date="")
        assert arrived == replace(ARRIVES, files=FILES if form == "multipart" else ())
    alike = [OF_ITS_OWN.sub(b"", mail.content) for mail in receiver.mails[:3]]
    assert alike == alike[:1] * 3


def assert_failed(client: tuple[str, ...], finished: tuple[int, str], code: int, message: str) -> None:
    status, told = finished
    assert status == (22 if client[1].endswith(".sh") else 1), told
    error = json.loads(told)["error"]
    assert sorted(error) == ["code", "context", "message", "status_code"]
    assert (error["code"], error["status_code"], error["message"]) == (code, code, message)

"""The contact form of examples/, in Chromium, on an origin of its own: what visitors see, and what the owner gets."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio
from graphql import build_schema, parse, validate
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from app.asgi import make_app
from app.settings import Settings
from tests.browser import Visit
from tests.factories import make_first_start
from tests.http import http_client
from tests.journeys.browser_keys import make_page
from tests.journeys.doors import Doors
from tests.journeys.reading import read_mail

FORM = Path(__file__).parents[2] / "examples" / "contact-form"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SENT = "Thank you. Your message is on its way."


class Site:
    """A web server with the form's files; `marked` are its `data-` attributes."""

    def __init__(self) -> None:
        self.marked: dict[str, str] = {}

    def app(self) -> Starlette:
        """Under the policy that the form's README tells."""
        return Starlette(routes=[Route("/{name}", self._file)])

    async def _file(self, request: Request) -> Response:
        path = FORM / request.path_params["name"]
        text = path.read_text()
        if path.suffix == ".html":
            for name, value in self.marked.items():
                before, _, after = text.partition(f'data-{name}="')
                text = f'{before}data-{name}="{value}"{after.partition(chr(34))[2]}'
        policy = f"default-src 'self'; img-src data:; connect-src {self.marked['endpoint'].removesuffix('/graphql')}"
        return Response(text, headers={"Content-Type": TYPES[path.suffix], "Content-Security-Policy": policy})


@dataclass
class World:
    """The server, as admin sees it; the page of the listed origin, and the same page on another one."""

    admin: Doors
    server: str
    key: str
    listed: str
    elsewhere: str


@pytest_asyncio.fixture(loop_scope="session")
async def world(sqlite_settings: Settings, serve: Callable[[ASGIApp], str]) -> AsyncIterator[World]:
    admin_key = await make_first_start(sqlite_settings)
    server = serve(make_app(sqlite_settings))
    site = Site()
    listed, elsewhere = serve(site.app()), serve(site.app())
    async with http_client(server) as http:
        admin = Doors(http, admin_key)
        limits = {"perMinute": 2}
        page = await make_page(
            admin,
            origins=[listed],
            recipients=["desk@owner.example"],
            replyToFromVisitor=True,
            limitsPerClientAddress=limits,
        )
        assert page.key is not None
        site.marked = {"endpoint": f"{server}/graphql", "key": page.key, "service": "email", "template": "Contact"}
        yield World(admin, server, page.key, listed, elsewhere)


async def write(page: Page, message: str) -> None:
    await page.get_by_label("Your name").fill("Vera Visitor")
    await page.get_by_label("Your email address, for our answer").fill("vera@visitor.example")
    await page.get_by_label("Your message").fill(message)


async def delivered(world: World, count: int, page: Page) -> list[Any]:
    async with asyncio.timeout(30):
        while len(mails := await world.admin.graphql.inbox()) < count:
            await page.evaluate("() => new Promise(requestAnimationFrame)")
    return mails


def test_the_commands_of_its_readme_are_understood() -> None:
    schema = build_schema((FORM.parents[1] / "schema.graphql").read_text())
    commands = re.findall(r"--json '(.*)'", (FORM / "README.md").read_text())
    assert len(commands) == 2
    for command in commands:
        assert validate(schema, parse(json.loads(command)["query"])) == []


async def test_a_visitor_writes_and_the_owner_reads(world: World, visit: Visit) -> None:
    page, status = visit.page, visit.page.get_by_role("status")
    await page.goto(f"{world.listed}/index.html")
    await write(page, "When do you\nopen? <b>Now?</b>")
    await page.get_by_role("button", name="Send").dblclick()
    await expect(status).to_have_text(SENT)
    (mail,) = await delivered(world, 1, page)
    assert mail["recipients"] == ["desk@owner.example"]
    read = read_mail(mail["content"]["source"].replace("\r\n", "\n").replace("\n", "\r\n").encode())
    assert (read.to, read.reply_to) == ("desk@owner.example", "Vera Visitor <vera@visitor.example>")
    assert "When do you\r\nopen? <b>Now?</b>" in (read.text or "")
    assert "&lt;b&gt;Now?&lt;/b&gt;" in (read.html or "")
    await write(page, "And on Sundays?")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(status).to_have_text(SENT)
    await write(page, "And at night?")
    await page.get_by_role("button", name="Send").click()
    await expect(status).to_contain_text("You have written to us a few times just now. Please try again in ")
    assert len(await world.admin.graphql.messages()) == 2
    visit.assert_clean()


async def test_a_page_of_another_origin_neither_sends_nor_reads(world: World, visit: Visit) -> None:
    await visit.page.goto(f"{world.elsewhere}/index.html")
    await write(visit.page, "Buy!")
    await visit.page.get_by_role("button", name="Send").click()
    await expect(visit.page.get_by_role("status")).to_contain_text("could not be sent")
    assert any("CORS policy" in complaint for complaint in visit.complaints)
    simple = """async (url) => {
      const options = { method: "POST", mode: "no-cors", body: '{"template": "Contact", "message": "Buy!"}' };
      return (await fetch(url, options)).type;
    }"""
    assert await visit.page.evaluate(simple, f"{world.server}/api/v2/email?api_key={world.key}") == "opaque"
    assert await world.admin.graphql.messages() == []
    assert visit.outside == []


async def test_a_socket_is_for_pages_of_the_listed_origin_alone(world: World) -> None:
    assert await _greeted(world, world.listed) == "connection_ack"
    assert await _greeted(world, world.elsewhere) == 403
    assert await _greeted(world, None) == 4403
    assert await _greeted(world, world.server) == 4403


async def _greeted(world: World, origin: str | None) -> Any:
    """The type of the answer to connection_init, or with which status or code there was none."""
    url = world.server.replace("http", "ws") + "/graphql"
    given = Origin(origin) if origin else None
    try:
        async with connect(url, origin=given, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": {"X-API-Key": world.key}}))
            return json.loads(await socket.recv())["type"]
    except InvalidStatus as error:
        return error.response.status_code
    except ConnectionClosed as error:
        return error.rcvd and error.rcvd.code

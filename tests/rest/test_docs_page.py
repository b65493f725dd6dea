"""The page at /docs, in a browser that reaches loopback only; what it offers to copy, run by a shell."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from starlette.types import ASGIApp

from app.asgi import make_app
from app.errors import ErrorCode
from app.rest.body import FIELDS
from app.settings import Settings
from tests.browser import Visit
from tests.factories import make_first_start
from tests.http import http_client

INBOX = "{ inbox(first: 10) { nodes { id } } }"
CAPTURED = "query ($id: ID!) { capturedMail(id: $id) { recipients content { source } } }"
TITLES = ["JSON", "Form", "Multipart, with a file", "Query only", "Without waiting, and never twice"]


@dataclass(frozen=True, slots=True)
class Desk:
    """The real application on loopback, with a SANDBOX service `email` and an API key that may do everything."""

    url: str
    key: str

    async def inbox(self) -> list[tuple[list[str], EmailMessage]]:
        """Recipients and mail, newest first."""
        nodes = (await self._ask(INBOX))["inbox"]["nodes"]
        captured = [(await self._ask(CAPTURED, id=node["id"]))["capturedMail"] for node in nodes]
        return [(mail["recipients"], _mail(mail["content"]["source"])) for mail in captured]

    async def _ask(self, query: str, **variables: Any) -> Any:
        async with http_client(self.url, headers={"X-API-Key": self.key}) as client:
            answer = await client.post("/graphql", json={"query": query, "variables": variables})
        return answer.json()["data"]


def _mail(source: str) -> EmailMessage:
    mail = message_from_bytes(source.encode(), policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


@pytest_asyncio.fixture(loop_scope="session")
async def desk(sqlite_settings: Settings, serve: Callable[[ASGIApp], str]) -> Desk:
    key = await make_first_start(sqlite_settings)
    return Desk(serve(make_app(sqlite_settings)), key)


async def enter(page: Page, desk: Desk, address: str = "/docs") -> None:
    await page.goto(desk.url + address)
    await expect(page.get_by_role("heading", name="POST /api/v2/{service}")).to_be_visible()


async def example(page: Page, title: str) -> str:
    """The text of the example, as the page shows it."""
    text = (
        await page.get_by_role("article")
        .filter(has=page.get_by_role("heading", name=title))
        .locator("pre")
        .text_content()
    )
    assert text
    return text


async def pasted(text: str, folder: Path) -> str:
    """What a shell says to the text, in an empty folder."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-s"),
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "no_proxy": "*"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await shell.communicate(f"{text}\n".encode())
    assert shell.returncode == 0, complaints.decode()
    return output.decode()


async def run_example(desk: Desk, visit: Visit, folder: Path, title: str) -> str:
    """The answer to the example, run with the key typed into the page; headers and all."""
    await enter(visit.page, desk)
    await visit.page.get_by_label("API key").fill(desk.key)
    answer = await pasted(await example(visit.page, title), folder)
    visit.assert_clean()
    return answer


def parts(mail: EmailMessage) -> dict[str, str]:
    return {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}


async def test_the_page_renders_the_document_and_reaches_for_nothing_else(desk: Desk, visit: Visit) -> None:
    page = visit.page
    await enter(page, desk)
    fields = await page.locator("#field-table tbody th").all_inner_texts()
    assert set(fields) == FIELDS
    codes = await page.locator("#code-table tbody th").all_inner_texts()
    assert codes == list(ErrorCode)
    assert await page.locator(".example h3").all_inner_texts() == TITLES
    for message in ("Invalid email - ''.", "Invalid API key.", "Host not found: smtp.example.com."):
        await expect(page.get_by_role("cell", name=message, exact=True)).to_be_visible()
    for table in await page.get_by_role("table").all():
        assert await table.locator("tbody tr").count() > 1
    assert "undefined" not in await page.inner_text("main")
    visit.assert_clean()


async def test_the_links_of_the_page_lead_somewhere(desk: Desk, visit: Visit) -> None:
    page = visit.page
    await enter(page, desk)
    targets = await page.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    inside = {target[1:] for target in targets if target.startswith("#")}
    ids = await page.locator("[id]").evaluate_all("nodes => nodes.map(node => node.id)")
    assert inside <= set(ids)
    assert set(filter(lambda target: not target.startswith("#"), targets)) == {"/openapi.json", "/graphql", "/inbox"}
    await enter(page, desk, "/docs/#shape-Attachment")
    await expect(page.get_by_role("rowheader", name="Attachment", exact=True)).to_be_in_viewport()
    visit.assert_clean()


async def test_a_key_and_a_service_fill_the_examples_and_are_kept_nowhere(desk: Desk, visit: Visit) -> None:
    page = visit.page
    await enter(page, desk)
    for title in TITLES:
        text = await example(page, title)
        assert text.startswith("export KEY=your-api-key\n")
        assert f"'{desk.url}/api/v2/email'" in text
        assert '-H "X-API-Key: $KEY"' in text
    await page.get_by_label("API key").fill("it's $HOME & `more`")
    await page.get_by_role("textbox", name="Service").fill("shop")
    for title in TITLES:
        text = await example(page, title)
        assert "KEY=" not in text
        assert f"'{desk.url}/api/v2/shop'" in text
        assert r"-H 'X-API-Key: it'\''s $HOME & `more`'" in text
    assert await page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [0, 0, ""]
    await page.reload()
    await expect(page.get_by_label("API key")).to_have_value("")
    visit.assert_clean()


async def test_each_example_can_be_copied(desk: Desk, visit: Visit) -> None:
    page = visit.page
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=desk.url)
    await enter(page, desk)
    for title in TITLES:
        article = page.get_by_role("article").filter(has=page.get_by_role("heading", name=title))
        await article.get_by_role("button", name="Copy").click()
        await expect(page.get_by_role("status")).to_have_text(f"Copied: {title}")
        assert await page.evaluate("navigator.clipboard.readText()") == await example(page, title)
    visit.assert_clean()


async def test_the_json_example_sends(desk: Desk, visit: Visit, tmp_path: Path) -> None:
    answer = await run_example(desk, visit, tmp_path, "JSON")
    assert answer.startswith("HTTP/1.1 200 ")
    assert answer.endswith('{"count":2}')
    ((recipients, mail),) = await desk.inbox()
    assert recipients == ["ada@example.com", "bob@example.com"]
    assert (mail["To"], mail["Subject"]) == ("Ada Lovelace <ada@example.com>, Bob <bob@example.com>", "Hello Ada")
    assert parts(mail)["text/plain"].strip() == "Hello Ada, it's sunny today."
    assert parts(mail)["text/html"].strip() == "<p>Hello <b>Ada</b>, it's sunny today.</p>"


async def test_with_the_key_in_a_variable_it_sends_too(desk: Desk, visit: Visit, tmp_path: Path) -> None:
    await enter(visit.page, desk)
    text = await example(visit.page, "JSON")
    assert '{"count":2}' in await pasted(text.replace("your-api-key", desk.key), tmp_path)
    assert "Invalid API key." in await pasted(text, tmp_path)


async def test_the_form_example_sends(desk: Desk, visit: Visit, tmp_path: Path) -> None:
    answer = await run_example(desk, visit, tmp_path, "Form")
    assert answer.endswith('{"count":2}'), answer
    ((recipients, mail),) = await desk.inbox()
    assert recipients == ["ada@example.com", "bob@example.com"]
    assert mail["Subject"] == "Hello Ada & Bob"
    assert mail.get_content().strip() == "Hello Ada & Bob, that's all."


async def test_the_multipart_example_sends_its_file(desk: Desk, visit: Visit, tmp_path: Path) -> None:
    answer = await run_example(desk, visit, tmp_path, "Multipart, with a file")
    assert answer.endswith('{"count":1}'), answer
    ((recipients, mail),) = await desk.inbox()
    (file,) = mail.iter_attachments()
    assert (recipients, mail["Subject"]) == (["ada@example.com"], "Your invoice")
    assert (file.get_filename(), file.get_content_type()) == ("invoice.csv", "text/csv")
    assert file.get_content().splitlines() == ["item,price", "lamp,12.50"]


async def test_the_query_example_sends(desk: Desk, visit: Visit, tmp_path: Path) -> None:
    answer = await run_example(desk, visit, tmp_path, "Query only")
    assert answer.endswith('{"count":1}'), answer
    ((recipients, mail),) = await desk.inbox()
    assert (recipients, mail["Subject"]) == (["ada@example.com"], "Hello")
    assert mail.get_content().strip() == "Sent with nothing but an address."


async def test_the_example_that_does_not_wait_sends_once(desk: Desk, visit: Visit, tmp_path: Path) -> None:
    answer = await run_example(desk, visit, tmp_path, TITLES[-1])
    assert answer.startswith("HTTP/1.1 202 ")
    again = await pasted(await example(visit.page, TITLES[-1]), tmp_path)
    message_id = re.compile(r"^x-message-id: (msg_\w+)", re.MULTILINE | re.IGNORECASE)
    assert message_id.findall(answer) == message_id.findall(again) != []
    assert re.search("^idempotent-replayed: true", again, re.MULTILINE | re.IGNORECASE)
    async with asyncio.timeout(30):
        while not (arrived := await desk.inbox()):  # noqa: ASYNC110 - no event reaches from there to here
            await asyncio.sleep(0.05)
    ((recipients, mail),) = arrived
    assert (recipients, mail["Subject"]) == (["ada@example.com"], "Your order")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_it_all_without_scrolling_sideways(desk: Desk, visit: Visit, scheme: Any) -> None:
    page = visit.page
    await page.emulate_media(color_scheme=scheme)
    for width in (320, 390, 700, 1000):
        await page.set_viewport_size({"width": width, "height": 800})
        await enter(page, desk)
        await page.get_by_label("API key").fill("k" * 200)
        assert await page.evaluate("document.documentElement.scrollWidth") == width
    visit.assert_clean()


async def test_trouble_is_said(desk: Desk, visit: Visit) -> None:
    page = visit.page
    await page.route("**/openapi.json", lambda route: route.fulfill(status=503))
    await page.goto(f"{desk.url}/docs")
    await expect(page.get_by_role("alert")).to_have_text("The description of the route cannot be loaded (status 503).")

import asyncio
import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from typing import Any
from urllib.parse import urlsplit

import pytest_asyncio
from playwright.async_api import Page, expect
from starlette.types import ASGIApp

from app.asgi import make_app
from app.settings import Settings
from tests.browser import Visit
from tests.factories import make_first_start
from tests.http import http_client

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000002000000020802000000fdd49a73"
        "0000000e49444154789c63606060f80f0002030100adf0f9f20000000049454e44ae426082"
    )
).decode()
LOGO = {"name": "logo.png", "content": PNG, "content_type": "image/png", "content_id": "logo:1@x"}
BILL = {
    "name": "bill.html",
    "content": base64.b64encode(b"<script>top.ran=1</script>").decode(),
    "content_type": "text/html",
}

NICE = """<style>p { color: rgb(1, 2, 3); background: url('cid:logo%3A1@x') }</style>
<p style="font-weight: 700">Hello</p><img src="cid:logo%3A1@x" alt="a"><table background="cid:logo%3A1@x"></table>
<img src="cid:logo:1@x" alt="b">"""

POLICY = (
    """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; """
    """img-src data:; base-uri 'none'; form-action 'none'">"""
)

EXPECTED_OF_HOSTILE = re.compile("base-uri|inline event handler|script-src-attr inline|^Blocked (script|form)")
"""What the browser says when it refuses what this mail tries."""

HOSTILE = """<!doctype html><html><head>
<base href="http://base.example/">
<meta http-equiv="refresh" content="0;url=http://refresh.example/">
<link rel="stylesheet" href="http://link.example/a.css"><link rel="dns-prefetch" href="//prefetch.example">
<style>@import "http://import.example/b.css"; p { background: url(http://css.example/p.gif) }</style>
<script>document.documentElement.dataset.ran = "script"; top.ran = true</script>
</head><body background="http://background.example/x.png" onload="top.ran = true">
<p style="background-image: url('//style.example/y')">Hello Ada</p>
<img src="http://tracker.example/t.gif?who=ada" alt="pixel">
<img srcset="https://srcset.example/1.png 1x, //srcset.example/2.png 2x" onerror="top.ran = true" src="x:y" alt="">
<picture><source srcset="http://source.example/s.png"><img src="data:image/png;base64,eA==" alt="" onerror="top.ran=1">
</picture><video poster="http://poster.example/p.png" src="http://video.example/v.mp4"></video>
<svg><image href="http://svg.example/i.svg"/><script>top.ran = true</script></svg>
<object data="http://object.example/o"></object><embed src="http://embed.example/e">
<iframe src="http://iframe.example/f" srcdoc="<script>top.ran = true</script>"></iframe>
<form action="http://form.example/f"><input type="image" src="http://input.example/i.png"><button>Go</button></form>
<a id="offer" href="https://offer.example/?a=1&amp;b=2" ping="http://ping.example/">Offer</a>
<a href="javascript:top.ran=true">Run</a> <a href="mailto:help@x.example">Help</a>
</body></html>"""


@dataclass
class Office:
    """The real application on loopback, with a SANDBOX service `email` and an API key that may do everything."""

    url: str
    key: str

    async def send(self, **fields: Any) -> None:
        """Send a mail through the REST route; it is in the inbox when this returns."""
        body = {"to": "ada@example.test", "body_text": "hello", **fields}
        async with http_client(self.url) as client:
            answer = await client.post("/api/v2/email", json=body, headers={"X-API-Key": self.key})
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Message-Status"] == "sent"


@pytest_asyncio.fixture(loop_scope="session")
async def office(sqlite_settings: Settings, serve: Callable[[ASGIApp], str]) -> Office:
    key = await make_first_start(sqlite_settings)
    return Office(serve(make_app(sqlite_settings)), key)


async def enter(page: Page, office: Office, address: str = "/inbox") -> None:
    await page.goto(office.url + address)
    await give_key(page, office.key)
    await expect(page.get_by_role("button", name="Refresh")).to_be_visible()


async def give_key(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Open the inbox").click()


async def open_mail(page: Page, subject: str) -> None:
    await page.get_by_role("navigation").get_by_role("link", name=subject).click()
    await expect(page.get_by_role("heading", level=2)).to_have_text(subject)


async def stop_time(page: Page) -> None:
    """For what is opened next: it looks for new mail by itself only when it is told that time has passed."""
    await page.clock.install(time=0)
    await page.clock.pause_at(1)


async def downloaded(page: Page, button: str) -> tuple[str, bytes]:
    async with page.expect_download() as started:
        await page.get_by_role("button", name=button).click()
    download = await started.value
    return download.suggested_filename, (await download.path()).read_bytes()


async def test_mail_is_listed_newest_first_with_sender_subject_and_recipients(office: Office, visit: Visit) -> None:
    await office.send(subject="<script>alert(1)</script>", from_name="Jürgen <b>x</b>", bcc="hidden@example.test")
    await office.send()
    await enter(visit.page, office)
    rows = visit.page.get_by_role("navigation").get_by_role("listitem")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("(no subject)")
    await expect(rows.last).to_contain_text('"Jürgen <b>x</b>" <heliograph@example.com>')
    await expect(rows.last).to_contain_text("<script>alert(1)</script>")
    await expect(rows.last).to_contain_text("to ada@example.test, hidden@example.test")
    visit.assert_clean()


async def test_a_mail_shows_its_envelope_header_fields_text_attachments_and_source(
    office: Office, visit: Visit
) -> None:
    page = visit.page
    await office.send(
        subject="Bill & <i>you</i>", body_text="<b>not bold</b>", bcc="hidden@example.test", attachments=[BILL]
    )
    await enter(page, office)
    await open_mail(page, "Bill & <i>you</i>")
    await expect(page.locator("#summary")).to_contain_text(
        "Envelopeheliograph@example.com → ada@example.test, hidden@example.test"
    )
    await page.get_by_text("header fields").click()
    await expect(page.get_by_role("row", name="MIME-Version 1.0")).to_be_visible()
    await expect(page.get_by_role("tabpanel", name="Text")).to_have_text("<b>not bold</b>")
    await page.get_by_role("tab", name="Attachments (1)").click()
    await expect(page.get_by_role("tabpanel")).to_contain_text("bill.html")
    await expect(page.get_by_role("tabpanel")).to_contain_text("text/html, 26 B")
    assert await downloaded(page, "Download bill.html") == ("bill.html", b"<script>top.ran=1</script>")
    await page.get_by_role("tab", name="Source").click()
    await expect(page.get_by_role("tabpanel")).to_contain_text("Content-Disposition: attachment")
    name, octets = await downloaded(page, "Download the source")
    assert name == f"{urlsplit(page.url).fragment}.eml"
    assert message_from_bytes(octets)["Subject"] == "Bill & <i>you</i>"
    await page.get_by_role("tab", name="HTML").click()
    await expect(page.get_by_role("tabpanel")).to_have_text("This mail has no HTML part.")
    visit.assert_clean()


async def test_html_is_shown_with_its_own_styles_and_inline_images(office: Office, visit: Visit) -> None:
    page = visit.page
    await office.send(subject="Nice", body_html=NICE, attachments=[LOGO])
    await enter(page, office)
    await open_mail(page, "Nice")
    await expect(page.locator("iframe")).to_have_attribute("sandbox", "")
    await expect(page.locator("iframe")).to_have_attribute(
        "srcdoc", re.compile(f"^<!doctype html><html><head>{POLICY}")
    )
    frame = page.frame_locator("iframe")
    await expect(frame.get_by_role("paragraph")).to_have_css("color", "rgb(1, 2, 3)")
    await expect(frame.get_by_role("paragraph")).to_have_css("font-weight", "700")
    await expect(frame.get_by_role("paragraph")).to_have_css(
        "background-image", re.compile("^url.*image/png;base64,iVB")
    )
    for image in await frame.get_by_role("img").all():
        await expect(image).to_have_js_property("naturalWidth", 2)
    assert await frame.get_by_role("img").count() == 2
    visit.assert_clean()


async def test_hostile_html_runs_nothing_and_reaches_no_host(office: Office, visit: Visit) -> None:
    page = visit.page
    await office.send(subject="Hostile", body_html=HOSTILE)
    await enter(page, office)
    await open_mail(page, "Hostile")
    frame = page.frame_locator("iframe")
    await expect(frame.get_by_text("Hello Ada")).to_be_visible()
    await expect(page.get_by_text("Not loaded:")).to_contain_text("tracker.example")
    for name in ("Offer", "Run", "Go"):
        await frame.get_by_text(name).click()
    await expect(frame.get_by_text("Hello Ada")).to_be_visible()
    assert await page.evaluate("[window.ran, document.documentElement.dataset.ran]") == [None, None]
    assert visit.outside == []
    assert [complaint for complaint in visit.complaints if not EXPECTED_OF_HOSTILE.search(complaint)] == []


async def test_the_frame_alone_would_hold_hostile_html_too(office: Office, visit: Visit) -> None:
    """Should something get past what is taken out beforehand: the sandbox and the policies do not depend on that."""
    page = visit.page
    await office.send(subject="Nice", body_html="<p>nice</p>")
    await enter(page, office)
    await open_mail(page, "Nice")
    await expect(page.frame_locator("iframe").get_by_text("nice")).to_be_visible()
    await page.locator("iframe").evaluate(
        """(frame, html) => {
          const policy = /<meta http-equiv="Content-Security-Policy"[^>]*>/.exec(frame.srcdoc)[0];
          frame.srcdoc = policy + html;
        }""",
        HOSTILE,
    )
    frame = page.frame_locator("iframe")
    await expect(frame.get_by_text("Hello Ada")).to_be_visible()
    await frame.get_by_text("Go", exact=True).click()
    await frame.get_by_text("Offer").click()
    await expect(page.get_by_role("heading", level=2)).to_have_text("Nice")
    assert await page.evaluate("[window.ran, document.documentElement.dataset.ran]") == [None, None]
    assert visit.outside == []


async def test_the_links_of_a_mail_can_be_followed_outside_the_frame(office: Office, visit: Visit) -> None:
    page = visit.page
    await office.send(subject="Links", body_html=HOSTILE)
    await enter(page, office)
    await open_mail(page, "Links")
    await page.get_by_text("2 links").click()
    links = page.locator(".links").get_by_role("link")
    assert await links.all_inner_texts() == ["https://offer.example/?a=1&b=2", "mailto:help@x.example"]
    for link in await links.all():
        assert await link.get_attribute("rel") == "noopener noreferrer"
        assert await link.get_attribute("target") == "_blank"


async def test_a_wrong_key_is_refused_with_a_sentence_and_not_kept(office: Office, visit: Visit) -> None:
    page = visit.page
    await page.goto(f"{office.url}/inbox")
    for wrong in ("hg_wrong", "schlüssel", "two words"):
        await give_key(page, wrong)
        await expect(page.get_by_role("alert")).to_have_text(
            "This API key is not known here, has expired, or was revoked."
        )
        await expect(page.get_by_label("API key")).to_have_value("")
        await expect(page.get_by_label("API key")).to_be_focused()
    assert await page.evaluate("sessionStorage.length") == 0
    assert visit.outside == []


async def test_the_key_is_kept_for_the_tab_alone_until_it_is_forgotten(office: Office, visit: Visit) -> None:
    page = visit.page
    await office.send(subject="Secret")
    await enter(page, office)
    await open_mail(page, "Secret")
    await page.reload()
    await expect(page.get_by_role("heading", level=2)).to_have_text("Secret")
    assert await page.evaluate("Object.values(sessionStorage)") == [office.key]
    assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert office.key not in page.url
    await page.get_by_role("button", name="Forget key").click()
    await expect(page.get_by_label("API key")).to_be_focused()
    assert await page.evaluate("sessionStorage.length") == 0
    assert "Secret" not in await page.content()
    visit.assert_clean()


async def test_new_mail_shows_up_by_itself_and_leaves_the_focus_alone(office: Office, visit: Visit) -> None:
    page = visit.page
    await stop_time(page)
    await office.send(subject="First")
    await enter(page, office)
    first = page.get_by_role("link", name="First")
    await first.focus()
    await office.send(subject="Second")
    await page.clock.run_for(5_000)
    await expect(page.get_by_role("navigation").get_by_role("listitem").first).to_contain_text("Second")
    await expect(first).to_be_focused()
    await expect(page.get_by_role("status")).to_have_text("1 new")
    visit.assert_clean()


async def test_refresh_and_load_more_bring_all_mail_once(office: Office, visit: Visit) -> None:
    page = visit.page
    await asyncio.gather(*(office.send(subject=f"Mail {number}.") for number in range(53)))
    await stop_time(page)
    await enter(page, office)
    rows = page.get_by_role("navigation").get_by_role("listitem")
    await expect(rows).to_have_count(50)
    await office.send(subject="The newest")
    await page.get_by_role("button", name="Refresh").click()
    await expect(rows.first).to_contain_text("The newest")
    await page.get_by_role("button", name="Load more").click()
    await expect(rows).to_have_count(54)
    await expect(page.get_by_role("button", name="Load more")).to_be_hidden()
    await page.get_by_role("button", name="Refresh").click()
    await expect(page.get_by_role("status")).to_have_text("")
    subjects = await rows.locator(".subject").all_inner_texts()
    assert subjects[0] == "The newest"
    assert sorted(subjects[1:]) == sorted(f"Mail {number}." for number in range(53))
    visit.assert_clean()


async def test_an_address_with_an_id_opens_that_mail(office: Office, visit: Visit) -> None:
    page = visit.page
    await office.send(subject="Linked")
    await enter(page, office, "/inbox/")
    await open_mail(page, "Linked")
    fragment = urlsplit(page.url).fragment
    await page.get_by_role("button", name="Forget key").click()
    await enter(page, office, f"/inbox#{fragment}")
    await expect(page.get_by_role("heading", level=2)).to_have_text("Linked")
    await page.evaluate("location.hash = 'cap_00000000000000000000000000000000'")
    await expect(page.get_by_text("There is no such mail any more")).to_be_visible()
    await expect(page.get_by_role("heading", level=2)).to_be_hidden()
    visit.assert_clean()


async def test_the_page_works_by_keyboard(office: Office, visit: Visit) -> None:
    page = visit.page
    await office.send(subject="Keys", body_html="<p>html</p>")
    await page.goto(f"{office.url}/inbox")
    await page.keyboard.type(office.key)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Refresh").focus()
    for key in ("Tab", "Tab", "Enter"):
        await page.keyboard.press(key)
    await expect(page.get_by_role("article")).to_be_focused()
    await expect(page.get_by_role("link", name="Keys")).to_have_attribute("aria-current", "true")
    await page.get_by_role("tab", name="HTML").focus()
    for key, tab in (("ArrowRight", "Attachments"), ("End", "Source"), ("ArrowRight", "Text"), ("ArrowLeft", "Source")):
        await page.keyboard.press(key)
        await expect(page.get_by_role("tab", name=tab)).to_be_focused()
        await expect(page.get_by_role("tab", selected=True)).to_have_text(re.compile(tab))
        await expect(page.get_by_role("tabpanel")).to_have_accessible_name(re.compile(tab))
    visit.assert_clean()


async def test_a_phone_shows_the_list_or_the_mail(office: Office, visit: Visit) -> None:
    page = visit.page
    await page.set_viewport_size({"width": 390, "height": 800})
    await office.send(subject="Small " * 20, body_text="x" * 500, body_html=f"<p>{'x' * 500}</p>")
    await enter(page, office)
    await page.get_by_role("link", name="Small").click()
    await expect(page.get_by_role("article")).to_be_visible()
    await expect(page.get_by_role("navigation")).to_be_hidden()
    for tab in ("Text", "HTML", "Source"):
        await page.get_by_role("tab", name=tab).click()
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
    await page.get_by_role("link", name="Back to the list").click()
    await expect(page.get_by_role("article")).to_be_hidden()
    await expect(page.get_by_role("link", name="Small")).to_be_focused()
    visit.assert_clean()

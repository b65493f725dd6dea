"""The pages of our own over HTTP: what guards them, and that every byte of them is from here."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from app.inbox.page import inbox_routes
from app.rest.docs import docs_routes
from app.settings import Settings

SCRIPT_WRITTEN_INTO_HTML = r"<script(?! type=\"module\" src=)|<style|\son\w+=|style="


@dataclass(frozen=True)
class Page:
    """A page at `path`, of these assets at least, under this policy; `other_files` stand beside its assets or above."""

    path: str
    routes: Callable[[], Iterable[BaseRoute]]
    policy: str
    assets: frozenset[str]
    other_files: tuple[str, ...]

    def client(self, root: str = "") -> httpx2.AsyncClient:
        """A browser of sorts; `root` is the prefix under which a proxy shows the application."""
        transport = httpx2.ASGITransport(Starlette(routes=list(self.routes())), root_path=root)
        return httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test")


PAGES = {
    "inbox": Page(
        "/inbox",
        inbox_routes,
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; frame-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        frozenset({"inbox.js", "inbox.css"}),
        ("inbox.html", "no-such.js", "..%2Fpage.py", "%2e%2e/page.py"),
    ),
    "docs": Page(
        "/docs",
        lambda: docs_routes(Settings()),
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        frozenset({"docs.js", "docs.css", "curl.js"}),
        ("docs.html", "no-such.js", "..%2Fdocs.py", "%2e%2e/docs.py"),
    ),
}

of_each_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


@of_each_page
@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_page_comes_under_a_strict_policy(page: Page, slash: str) -> None:
    async with page.client() as client:
        answer = await client.get(page.path + slash)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-dns-prefetch-control"] == "off"
    assert answer.headers["content-security-policy"] == page.policy
    assert "//" not in answer.text
    assert re.findall(SCRIPT_WRITTEN_INTO_HTML, answer.text) == []


@of_each_page
async def test_every_asset_that_the_page_needs_is_served_and_can_be_revalidated(page: Page) -> None:
    async with page.client() as client:
        waiting = re.findall(rf'"{page.path}/assets/([\w.]+)"', (await client.get(page.path)).text)
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            seen.add(name)
            asset = await client.get(f"{page.path}/assets/{name}")
            assert asset.headers["content-type"].startswith("text/css" if name.endswith("css") else "text/javascript")
            assert asset.headers["x-content-type-options"] == "nosniff"
            again = await client.get(f"{page.path}/assets/{name}", headers={"If-None-Match": asset.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            waiting += set(re.findall(r'from "./([\w.]+)"', asset.text)) - seen
    assert page.assets <= seen


@of_each_page
async def test_nothing_but_assets_is_served(page: Page) -> None:
    async with page.client() as client:
        statuses = [(await client.get(f"{page.path}/assets/{name}")).status_code for name in page.other_files]
    assert statuses == [404] * len(page.other_files)


@of_each_page
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_other_verbs_are_not_allowed(page: Page, method: str) -> None:
    async with page.client() as client:
        for path in (page.path, f"{page.path}/", f"{page.path}/assets/{page.path[1:]}.js"):
            answer = await client.request(method, path)
            assert answer.status_code == 405
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@of_each_page
async def test_the_page_finds_its_way_below_a_prefix(page: Page) -> None:
    async with page.client("/mail") as client:
        text = (await client.get(f"/mail{page.path}")).text
        assert re.search(r'data-(root|endpoint)="/mail(/graphql)?"', text)
        assert (await client.get(re.findall(r'src="([^"]+)"', text)[0])).status_code == 200

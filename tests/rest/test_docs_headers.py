"""The documentation page over HTTP."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from app.rest.docs import docs_routes
from app.settings import Settings


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(Starlette(routes=docs_routes(Settings())))
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
        yield client


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_the_page_comes_under_a_strict_policy(client: httpx2.AsyncClient, path: str) -> None:
    page = await client.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "//" not in page.text
    assert re.findall(r"<script(?! type=\"module\" src=)|<style|\son\w+=|style=", page.text) == []


async def test_every_asset_that_the_page_needs_is_served_and_can_be_revalidated(client: httpx2.AsyncClient) -> None:
    names = set(re.findall(r'"/docs/assets/([\w.]+)"', (await client.get("/docs")).text))
    imported = re.findall(r'from "./([\w.]+)"', (await client.get("/docs/assets/docs.js")).text)
    assert {"docs.js", "docs.css", "curl.js"} <= names | set(imported)
    for name in names | set(imported):
        asset = await client.get(f"/docs/assets/{name}")
        assert asset.headers["content-type"].startswith("text/css" if name.endswith("css") else "text/javascript")
        assert "//" not in re.sub(r"^\s*//.*$", "", asset.text, flags=re.MULTILINE)
        again = await client.get(f"/docs/assets/{name}", headers={"If-None-Match": asset.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["docs.html", "no-such.js", "..%2Fdocs.py", "%2e%2e/docs.py"])
async def test_nothing_but_assets_is_served(client: httpx2.AsyncClient, name: str) -> None:
    assert (await client.get(f"/docs/assets/{name}")).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_other_verbs_are_not_allowed(client: httpx2.AsyncClient, method: str) -> None:
    for path in ("/docs", "/docs/", "/docs/assets/docs.js", "/openapi.json"):
        answer = await client.request(method, path)
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_the_page_finds_its_way_below_a_prefix() -> None:
    transport = httpx2.ASGITransport(Starlette(routes=docs_routes(Settings())), root_path="/mail")
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
        page = (await client.get("/mail/docs")).text
        assert 'data-root="/mail"' in page
        assert (await client.get(re.findall(r'src="([^"]+)"', page)[0])).status_code == 200
        assert (await client.get("/mail/openapi.json")).status_code == 200

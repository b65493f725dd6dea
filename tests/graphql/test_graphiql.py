import asyncio
import json
import re
import shutil
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from graphql import get_introspection_query, parse, validate
from playwright.async_api import Locator, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp

from app.graphql.cost import OperationLimits, over_limit
from app.graphql.graphiql import CHECKED_ASSETS, OWN_FOLDER, PACKAGE, AssetsError, GraphiQL, read_assets
from app.graphql.schema import make_schema
from app.graphql.view import GraphQLView
from tests.browser import Visit
from tests.graphql.tiny import make_context, tiny_schema

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
KEY = "hk_a-key-of-this-test"
TAB_STATE = "sessionStorage.getItem('graphiql:tabState')"


@pytest_asyncio.fixture(loop_scope="session")
async def graphiql(tiny_app: Starlette, serve: Callable[[ASGIApp], str], visit: Visit) -> Page:
    """GraphiQL, opened by a browser that has never been there, with its schema loaded."""
    async with visit.page.expect_response(lambda response: response.request.method == "POST"):
        await visit.page.goto(serve(tiny_app) + "/graphql")
    await expect(visit.page.locator(".graphiql-execute-button")).to_be_visible()
    return visit.page


async def replace_text(editor: Locator, text: str) -> None:
    await editor.click()
    await editor.page.keyboard.press("ControlOrMeta+a")
    await editor.page.keyboard.insert_text(text)


async def give_key(page: Page) -> None:
    await replace_text(
        page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror"), json.dumps({"X-API-Key": KEY})
    )


async def write_query(page: Page, text: str) -> None:
    """Replace the query, and wait until GraphiQL has taken note of it."""
    await replace_text(page.get_by_label("Query Editor").locator(".CodeMirror"), text)
    async with asyncio.timeout(20):
        while text not in str(await page.evaluate(TAB_STATE)):  # noqa: ASYNC110  (the CSP forbids wait_for_function)
            await asyncio.sleep(0.05)


async def stored_text(page: Page) -> str:
    return str(await page.evaluate("JSON.stringify({...sessionStorage}) + JSON.stringify({...localStorage})"))


async def test_the_opening_mutation_runs_and_its_result_is_shown(graphiql: Page, visit: Visit) -> None:
    await give_key(graphiql)
    async with graphiql.expect_response("**/graphql") as answered:
        await graphiql.locator(".graphiql-execute-button").click()
    response = await answered.value
    assert response.status == 200
    assert response.headers["content-type"] == "application/graphql-response+json; charset=utf-8"
    recipient = {
        "email": "ada@example.com",
        "state": "SENT",
        "reply": {"code": 250, "enhancedCode": "2.0.0", "text": "taken"},
    }
    message = {"id": "m1", "state": "SENT", "recipients": [recipient]}
    assert await response.json() == {"data": {"sendEmail": {"message": message, "userErrors": []}}}
    await expect(graphiql.locator(".graphiql-response")).to_contain_text('"enhancedCode": "2.0.0"')
    visit.assert_clean()


async def test_the_prepared_key_is_not_sent_until_it_is_replaced(graphiql: Page, visit: Visit) -> None:
    await expect(graphiql.get_by_label("Headers")).to_contain_text('"X-API-Key": "paste your key here"')
    async with graphiql.expect_request("**/graphql") as asked:
        await graphiql.locator(".graphiql-execute-button").click()
    assert "x-api-key" not in (await asked.value).headers
    await expect(graphiql.locator(".graphiql-response")).to_contain_text("UNAUTHENTICATED")
    visit.assert_clean()


async def test_the_docs_show_the_descriptions_of_the_schema(graphiql: Page, visit: Visit) -> None:
    await graphiql.get_by_label("Show Documentation Explorer").click()
    docs = graphiql.locator(".graphiql-doc-explorer")
    await docs.get_by_role("link", name="Mutation").click()
    await docs.get_by_role("link", name="sendEmail", exact=True).click()
    await expect(docs).to_contain_text("Send one mail to one or more recipients.")
    await docs.get_by_role("link", name="SendEmailInput").click()
    await expect(docs).to_contain_text("The name of the service that shall send the mail.")
    visit.assert_clean()


async def test_without_introspection_the_page_works_and_does_not_ask_for_the_schema(
    serve: Callable[[ASGIApp], str], visit: Visit
) -> None:
    view = GraphQLView(tiny_schema(), make_context, graphiql=GraphiQL(introspection=False))
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.post_data or ""))
    await visit.page.goto(serve(Starlette(routes=view.routes())) + "/graphql")
    await write_query(visit.page, "{ times }")
    await visit.page.locator(".graphiql-execute-button").click()
    await expect(visit.page.locator(".graphiql-response")).to_contain_text('"times": 6')
    await visit.page.get_by_label("Show Documentation Explorer").click()
    await expect(visit.page.locator(".graphiql-doc-explorer")).to_contain_text("No GraphQL schema available")
    assert not any("__schema" in body for body in asked)
    assert any("times" in body for body in asked)
    visit.assert_clean()


async def test_a_subscription_carries_the_key_in_connection_init(graphiql: Page, visit: Visit) -> None:
    await give_key(graphiql)
    await write_query(graphiql, "subscription { keySeen }")
    async with graphiql.expect_websocket() as opened:
        await graphiql.locator(".graphiql-execute-button").click()
    await expect(graphiql.locator(".graphiql-response")).to_contain_text(f'"keySeen": "{KEY}"')
    assert (await opened.value).url.endswith("/graphql")
    assert KEY not in (await opened.value).url
    visit.assert_clean()


async def test_the_key_is_never_stored(graphiql: Page, visit: Visit) -> None:
    await give_key(graphiql)
    async with graphiql.expect_response("**/graphql"):
        await graphiql.locator(".graphiql-execute-button").click()
    await expect(graphiql.locator(".graphiql-response")).to_contain_text("SENT")
    stored = await stored_text(graphiql)
    assert "Welcome to Heliograph" in stored
    assert KEY not in stored
    assert await graphiql.evaluate("localStorage.length") == 0
    assert await graphiql.evaluate("document.cookie") == ""
    visit.assert_clean()


async def test_what_was_edited_survives_a_reload_in_the_same_tab(graphiql: Page, visit: Visit) -> None:
    await write_query(graphiql, "{ edited: times }")
    await graphiql.reload()
    await expect(graphiql.get_by_label("Query Editor").locator(".CodeMirror")).to_contain_text("edited")
    await graphiql.get_by_role("button", name="Variables").click()
    await expect(graphiql.get_by_label("Variables").locator(".CodeMirror").first).to_contain_text('"service": "email"')
    assert len(json.loads(await graphiql.evaluate(TAB_STATE))["tabs"]) == 1
    visit.assert_clean()


async def test_the_page_works_at_the_path_with_a_slash(
    tiny_app: Starlette, serve: Callable[[ASGIApp], str], visit: Visit
) -> None:
    await visit.page.goto(serve(tiny_app) + "/graphql/")
    await visit.page.locator(".graphiql-execute-button").click()
    await expect(visit.page.locator(".graphiql-response")).to_contain_text("UNAUTHENTICATED")
    visit.assert_clean()


async def test_a_browser_gets_the_page_under_a_strict_policy(tiny_client: httpx2.AsyncClient) -> None:
    page = await tiny_client.get("/graphql", headers=BROWSER)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self' ws://heliograph.test wss://heliograph.test; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


async def test_the_page_names_no_other_host_and_no_inline_script(tiny_client: httpx2.AsyncClient) -> None:
    page = (await tiny_client.get("/graphql", headers=BROWSER)).text
    assert "//" not in page
    assert re.findall(r"<script(?! defer src=)", page) == []


@pytest.mark.parametrize("host", ["a.example; script-src *", "a.example *", "<x>", ""])
async def test_a_strange_host_does_not_get_into_the_policy(tiny_client: httpx2.AsyncClient, host: str) -> None:
    page = await tiny_client.get("/graphql", headers={**BROWSER, "Host": host})
    assert "connect-src 'self'; base-uri" in page.headers["content-security-policy"]


async def test_each_asset_is_served_as_it_was_checked(tiny_client: httpx2.AsyncClient) -> None:
    for name, expected in CHECKED_ASSETS.items():
        asset = await tiny_client.get(f"/graphql/assets/{name}")
        assert sha256(asset.content).hexdigest() == expected
        assert asset.headers["content-type"].startswith("text/css" if name.endswith("css") else "text/javascript")
        assert asset.headers["x-content-type-options"] == "nosniff"
        again = await tiny_client.get(f"/graphql/assets/{name}", headers={"If-None-Match": asset.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["graphiql.html", "nothing.js", "..%2Fgraphiql.py", "%2Fetc%2Fpasswd", "style.css"])
async def test_no_other_file_is_served(tiny_client: httpx2.AsyncClient, name: str) -> None:
    response = await tiny_client.get(f"/graphql/assets/{name}")
    assert response.status_code == 404


def test_a_file_that_differs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_altered(tmp_path, monkeypatch)
    with pytest.raises(
        AssetsError, match=r"graphiql\.min\.js is not the file .* graphene-django-graphiql-static==0\.8"
    ):
        read_assets()


async def test_the_page_is_a_404_that_says_what_to_do_if_a_file_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install_altered(tmp_path, monkeypatch)
    app = Starlette(routes=GraphQLView(tiny_schema(), make_context, graphiql=GraphiQL()).routes())
    assert "GraphiQL is not served: graphiql.min.js" in caplog.text
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://heliograph.test") as client:
        page = await client.get("/graphql", headers=BROWSER)
        assert page.status_code == 404
        assert "graphene-django-graphiql-static==0.8" in page.text
        assert "HELIOGRAPH_GRAPHIQL_ASSETS" in page.text
        assert (await client.get("/graphql/assets/graphiql.min.js")).status_code == 404
        assert (await client.post("/graphql", json={"query": "{ times }"})).json() == {"data": {"times": 6}}


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.graphql.graphiql.PACKAGE", "no_such_package_at_all")
    with pytest.raises(AssetsError, match="is not installed"):
        read_assets()


def test_a_folder_of_the_operator_is_trusted_as_it_is(tmp_path: Path) -> None:
    for name in CHECKED_ASSETS:
        (tmp_path / name).write_text(f"/* {name} of another release */")
    assert read_assets(tmp_path)["graphiql.min.js"] == b"/* graphiql.min.js of another release */"
    (tmp_path / "graphql-ws.min.js").unlink()
    with pytest.raises(AssetsError, match=r"graphql-ws\.min\.js cannot be read"):
        read_assets(tmp_path)


def test_the_page_below_a_root_path_asks_for_its_assets_there() -> None:
    scope = {"type": "http", "method": "GET", "path": "/mail/graphql", "root_path": "/mail", "headers": []}
    page = bytes(GraphiQL().page(Request(scope)).body).decode()
    assert 'src="/mail/graphql/assets/boot.js"' in page
    assert 'data-endpoint="/mail/graphql"' in page


def test_the_opening_mutation_fits_the_schema_it_is_shown_for() -> None:
    script = (OWN_FOLDER / "boot.js").read_text(encoding="utf-8")
    opening = re.search(r"OPENING_QUERY = `(.*?)(?<!\\)`;", script, re.DOTALL)
    assert opening is not None
    document = parse(opening[1].replace("\\`", "`"))
    assert validate(make_schema()._schema, document) == []
    assert over_limit(document, OperationLimits()) is None


async def test_graphiql_can_introspect_the_real_schema_without_a_key() -> None:
    result = await make_schema().execute(get_introspection_query(input_value_deprecation=True))
    assert result.errors is None


def install_altered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package before the real one whose graphiql.min.js has one byte more."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    source, target = Path(spec.origin).parent, folder / PACKAGE
    shutil.copytree(source / "static", target / "static")
    (target / "__init__.py").write_text("raise AssertionError('the package is never imported')")
    with (target / "static" / PACKAGE / "graphiql.min.js").open("ab") as script:
        script.write(b" ")
    monkeypatch.syspath_prepend(folder)

"""The OpenAPI document: valid, in step with the code, and true."""

from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from starlette.applications import Starlette

from app.errors import ErrorCode
from app.rest.body import FIELDS
from app.rest.docs import docs_routes
from app.rest.errors import STATUS
from app.rest.openapi import openapi_document
from app.rest.schemas import ERROR_CODES
from app.settings import Settings
from tests.factories import make_key, make_service
from tests.rest.conftest import MAIL, URL

GOOD: list[Mapping[str, Any]] = [
    {},
    {"to": "a@example.com"},
    {"to": "Ada <a@example.com>; b@example.com"},
    {"to": {"email": "a@example.com", "name": None}},
    {"to": ["a@example.com", "Ada <a@example.com>, b@example.com", {"email": "c@example.com"}, None, ""]},
    {"to": [], "cc": "", "bcc": None},
    {"subject": None, "from_email": "", "template_data": [], "attachments": None, "attachment": "", "import_url": ""},
    {"template": 7, "template_id": "welcome", "template_data": {"deep": {"er": [1]}}},
    {"attachments": {"name": "a.txt", "content": "QQ=="}},
    {"attachments": [{"name": "a.png", "content": "QQ==", "content_id": "a"}, "https://files.example.com/a.pdf"]},
    {"anything": {"at": ["all"]}, "else": None},
]
BAD: list[Mapping[str, Any]] = [
    {"to": 5},
    {"to": {"name": "Ada"}},
    {"to": [["a@example.com"]]},
    {"subject": 5},
    {"subject": "x" * 999},
    {"body_text": ["x"]},
    {"from_email": {"email": "a@example.com"}},
    {"template_data": "x"},
    {"attachments": [{"name": "a.txt"}]},
    {"attachments": [{"name": "a.txt", "content": 5}]},
    {"import_url": 5},
]


@pytest.fixture
def document() -> dict[str, Any]:
    return openapi_document(Settings())


@pytest.fixture
async def docs() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(Starlette(routes=docs_routes(Settings())))
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
        yield client


def schema_of(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_it_is_openapi_and_its_schemas_are_json_schema(document: dict[str, Any]) -> None:
    OPENAPI_31_VALIDATOR.validate(document)
    assert document["info"]["version"] == version("heliograph")
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        assert schema["description"], name


def test_every_reference_leads_somewhere_and_every_component_is_used(document: dict[str, Any]) -> None:
    found = set(references(document))
    components = document["components"]
    known = {f"#/components/{kind}/{name}" for kind in ("schemas", "headers") for name in components[kind]}
    assert found == known


def test_every_field_is_described_and_no_other(document: dict[str, Any]) -> None:
    for name in ("Mail", "Form"):
        properties = document["components"]["schemas"][name]["properties"]
        assert set(properties) == FIELDS
        assert all(schema["description"] for schema in properties.values())


def test_every_error_code_is_described_and_its_status_too(document: dict[str, Any]) -> None:
    assert set(ERROR_CODES) == set(ErrorCode)
    described = {one["const"] for one in document["components"]["schemas"]["Code"]["oneOf"]}
    assert described == {code.value for code in ErrorCode}
    responses = document["paths"]["/api/v2/{service}"]["post"]["responses"]
    assert {str(STATUS.get(code, 400)) for code in ErrorCode} <= set(responses)


def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    for status, response in document["paths"]["/api/v2/{service}"]["post"]["responses"].items():
        media = response["content"]["application/json"]
        examples = [example["value"] for example in media.get("examples", {}).values()]
        assert examples or status in ("200", "202")
        for example in examples:
            jsonschema_rs.validate({**media["schema"], "components": document["components"]}, example)
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            jsonschema_rs.validate(schema_of(document, name), example)


@pytest.mark.parametrize("body", GOOD, ids=str)
def test_every_shape_that_is_accepted_is_valid(document: dict[str, Any], body: Mapping[str, Any]) -> None:
    jsonschema_rs.validate(schema_of(document, "Mail"), body)


@pytest.mark.parametrize("body", BAD, ids=lambda body: str(body)[:40])
@pytest.mark.usefixtures("service")
async def test_what_is_not_valid_is_refused(
    document: dict[str, Any], client: httpx2.AsyncClient, body: Mapping[str, Any]
) -> None:
    assert not jsonschema_rs.is_valid(schema_of(document, "Mail"), body)
    assert (await client.post(URL, json={**MAIL, **body})).status_code in (400, 413)


def test_the_limits_are_those_of_the_settings() -> None:
    few = Settings(max_recipients=3, max_attachments=4, max_subject_chars=5, max_body_chars=6)
    document = openapi_document(few.model_copy(update={"max_name_chars": 7, "max_body_bytes": 8}))
    schemas, post = document["components"]["schemas"], document["paths"]["/api/v2/{service}"]["post"]
    assert schemas["Mailboxes"]["anyOf"][-1]["maxItems"] == 3
    assert schemas["Attachments"]["anyOf"][-1]["maxItems"] == 4
    mail = schemas["Mail"]["properties"]
    lengths = [mail[field]["maxLength"] for field in ("subject", "body_text", "body_html", "from_name")]
    assert lengths == [5, 6, 6, 7]
    assert "at most 8 bytes" in post["requestBody"]["description"]


async def test_it_is_served_and_can_be_revalidated(docs: httpx2.AsyncClient, document: dict[str, Any]) -> None:
    answer = await docs.get("/openapi.json")
    assert (answer.status_code, answer.json()) == (200, document)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = await docs.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await docs.post("/openapi.json")).status_code == 405


async def test_the_failures_it_shows_are_answered_to_the_letter(
    document: dict[str, Any], client: httpx2.AsyncClient, service: object
) -> None:
    await make_service("shop", is_active=False, kind="SANDBOX")
    nobody = await make_key("reports", [])
    wrong: list[tuple[str, dict[str, Any]]] = [
        (URL, {"content": b""}),
        (URL, {"content": b"{"}),
        (URL, {"json": {"body_text": "x"}}),
        (URL, {"json": {**MAIL, "to": "ada@"}}),
        (URL, {"json": {"to": "ada@example.com"}}),
        (URL, {"json": {**MAIL, "body_text": 5}}),
        (URL, {"json": {**MAIL, "attachments": [{"name": "logo.png", "content": "?"}]}}),
        (URL, {"json": {**MAIL, "subject": "a\nb"}}),
        (URL, {"json": {**MAIL, "to": "ada@", "cc": "bob"}}),
        (URL, {"json": MAIL, "headers": {"X-API-Key": ""}}),
        (URL, {"json": MAIL, "headers": {"X-API-Key": "hg_unknown"}}),
        (URL, {"json": MAIL, "headers": {"X-API-Key": nobody}}),
        ("/api/v2/shop", {"json": MAIL}),
        ("/api/nothing", {"json": MAIL}),
    ]
    answers = [(await client.post(path, **given)).json() for path, given in wrong]
    answers.append((await client.get(URL)).json())
    shown = [example["value"] for example in examples(document)]
    assert [answer for answer in answers if answer not in shown] == []


async def test_an_unknown_template_is_answered_as_shown(
    document: dict[str, Any], client: httpx2.AsyncClient, service: object
) -> None:
    answer = (await client.post(URL, json={**MAIL, "template": "welcome"})).json()
    assert answer in [example["value"] for example in examples(document)]


def examples(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for response in document["paths"]["/api/v2/{service}"]["post"]["responses"].values():
        yield from response["content"]["application/json"].get("examples", {}).values()

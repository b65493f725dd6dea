import logging
from http import HTTPStatus
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from app.graphql.view import GraphQLView
from tests.graphql.tiny import SECRET, code_of, make_context, tiny_schema

JSON = "application/json"
NEW = "application/graphql-response+json"
POSTED = {"Content-Type": JSON}


async def post(client: httpx2.AsyncClient, query: str, accept: str = NEW, **more: Any) -> httpx2.Response:
    headers = {"Accept": accept, **more.pop("headers", {})}
    return await client.post("/graphql", json={"query": query, **more}, headers=headers)


async def test_a_query_is_answered_with_its_data_alone(tiny_client: httpx2.AsyncClient) -> None:
    response = await post(tiny_client, "{ times }")
    assert response.status_code == 200
    assert response.json() == {"data": {"times": 6}}


async def test_no_answer_may_be_stored_or_sniffed(tiny_client: httpx2.AsyncClient) -> None:
    for response in (
        await post(tiny_client, "{ times }"),
        await post(tiny_client, "{"),
        await tiny_client.get("/graphql"),
    ):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_path_answers_with_and_without_a_slash(tiny_client: httpx2.AsyncClient) -> None:
    for path in ("/graphql", "/graphql/"):
        response = await tiny_client.post(path, json={"query": "{ times }"})
        assert response.json() == {"data": {"times": 6}}


async def test_the_api_key_of_the_header_reaches_the_resolver(tiny_client: httpx2.AsyncClient) -> None:
    response = await post(tiny_client, "{ apiKey }", headers={"X-API-Key": "k1"})
    assert response.json() == {"data": {"apiKey": "k1"}}


async def test_variables_and_the_operation_name_are_honoured(tiny_client: httpx2.AsyncClient) -> None:
    document = "query a($n: Int!) { times(number: $n) } query b { apiKey }"
    response = await post(tiny_client, document, variables={"n": 5}, operationName="a", extensions={"x": 1})
    assert response.json() == {"data": {"times": 15}}


async def test_text_beyond_ascii_comes_back_as_it_was(tiny_client: httpx2.AsyncClient) -> None:
    response = await post(tiny_client, "query($v: JSON!) { echo(value: $v) }", variables={"v": {"größe": "🏃 \u2028"}})
    assert response.json() == {"data": {"echo": {"größe": "🏃 \u2028"}}}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        ("Application/JSON; charset=utf-8", JSON),
        (NEW, NEW),
        (f"{NEW}; charset=utf-8", NEW),
        (f"{NEW}, {JSON}", NEW),
        (f"{JSON}, {NEW}", JSON),
        (f"{NEW}, {JSON};q=0.9", NEW),
        (f"{JSON};q=0.9, {NEW};q=0.8", JSON),
        (f"{NEW}, */*;q=0.1", NEW),
        (f"{JSON}, */*", JSON),
        (f"{JSON};q=0, */*", NEW),
        ("text/event-stream, multipart/mixed;boundary=x, */*;q=0.1", JSON),
        (f",, ;, {NEW};q=junk", NEW),
    ],
)
async def test_the_answer_has_the_media_type_that_accept_prefers(
    tiny_client: httpx2.AsyncClient, accept: str | None, content_type: str
) -> None:
    del tiny_client.headers["accept"]
    headers = {"Accept": accept} if accept is not None else {}
    response = await tiny_client.post("/graphql", json={"query": "{ times }"}, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{content_type}; charset=utf-8"


@pytest.mark.parametrize(
    "accept", ["text/plain", "text/html", f"{JSON};q=0", "application/xml, image/*", f"{NEW};q=0.000"]
)
async def test_an_accept_that_fits_nothing_is_406_in_json(tiny_client: httpx2.AsyncClient, accept: str) -> None:
    response = await post(tiny_client, "{ times }", accept=accept)
    assert response.status_code == 406
    assert response.headers["content-type"] == f"{JSON}; charset=utf-8"
    assert code_of(response) == "NOT_ACCEPTABLE"


MALFORMED: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "no body": (b"", POSTED, 400, "BAD_REQUEST"),
    "cut JSON": (b'{"query": "{ ti', POSTED, 400, "BAD_REQUEST"),
    "two JSON values": (b'{"query": "{ times }"} {}', POSTED, 400, "BAD_REQUEST"),
    "NaN": (b'{"query": "{ times }", "variables": {"n": NaN}}', POSTED, 400, "BAD_REQUEST"),
    "null": (b"null", POSTED, 400, "BAD_REQUEST"),
    "a number": (b"1", POSTED, 400, "BAD_REQUEST"),
    "a string": (b'"abc"', POSTED, 400, "BAD_REQUEST"),
    "a list": (b'[{"query": "{ times }"}]', POSTED, 400, "BAD_REQUEST"),
    "no query": (b"{}", POSTED, 400, "BAD_REQUEST"),
    "query null": (b'{"query": null}', POSTED, 400, "BAD_REQUEST"),
    "query empty": (b'{"query": ""}', POSTED, 400, "BAD_REQUEST"),
    "query a number": (b'{"query": 1}', POSTED, 400, "BAD_REQUEST"),
    "query an object": (b'{"query": {}}', POSTED, 400, "BAD_REQUEST"),
    "variables a string": (b'{"query": "{ times }", "variables": "{}"}', POSTED, 400, "BAD_REQUEST"),
    "variables a list": (b'{"query": "{ times }", "variables": []}', POSTED, 400, "BAD_REQUEST"),
    "operationName a number": (b'{"query": "{ times }", "operationName": 1}', POSTED, 400, "BAD_REQUEST"),
    "extensions false": (b'{"query": "{ times }", "extensions": false}', POSTED, 400, "BAD_REQUEST"),
    "invalid UTF-8": (b'{"query": "{ times } # \xff"}', POSTED, 400, "BAD_REQUEST"),
    "a lone surrogate": (b'{"query": "{ times } # \\ud800"}', POSTED, 400, "BAD_REQUEST"),
    "deep JSON": (b'{"query": "{ times }", "variables": ' + b'{"a":' * 1500, POSTED, 400, "BAD_REQUEST"),
    "deep lists": (b"[" * 9_000, POSTED, 400, "BAD_REQUEST"),
    "a deep selection": (orjson.dumps({"query": "{me" * 900}), POSTED, 400, "GRAPHQL_PARSE_FAILED"),
    "a subscription": (b'{"query": "subscription { counting(to: 1) }"}', POSTED, 400, "BAD_REQUEST"),
    "no content type": (b'{"query": "{ times }"}', {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    "a form": (b"query={times}", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    "multipart": (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    "plain text": (b'{"query": "{ times }"}', {"Content-Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    "UTF-16": (
        '{"query": "{ times }"}'.encode("utf-16"),
        {"Content-Type": f"{JSON}; charset=utf-16"},
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    ),
    "gzip": (b"\x1f\x8b", {**POSTED, "Content-Encoding": "gzip"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
}


@pytest.mark.parametrize("media_type", [JSON, NEW])
@pytest.mark.parametrize(("body", "headers", "status", "code"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_gets_its_status_and_a_json_error(
    tiny_client: httpx2.AsyncClient, body: bytes, headers: dict[str, str], status: int, code: str, media_type: str
) -> None:
    response = await tiny_client.post("/graphql", content=body, headers={**headers, "Accept": media_type})
    legacy_graphql_error = media_type == JSON and code.startswith("GRAPHQL")
    assert response.status_code == (200 if legacy_graphql_error else status)
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert code_of(response) == code


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"'])
async def test_json_in_declared_utf8_is_taken(tiny_client: httpx2.AsyncClient, charset: str) -> None:
    headers = {"Content-Type": f"application/JSON ; charset={charset}", "Content-Encoding": "identity"}
    response = await tiny_client.post("/graphql", content=b'{"query": "{ times }"}', headers=headers)
    assert response.json() == {"data": {"times": 6}}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(body=st.one_of(st.binary(max_size=200), st.from_regex(rb'\{"query":"[^"]{0,40}"(,"variables":[^}]{0,20})?\}')))
async def test_no_bytes_whatever_make_a_5xx(tiny_client: httpx2.AsyncClient, body: bytes) -> None:
    response = await tiny_client.post("/graphql", content=body, headers={**POSTED, "Accept": NEW})
    assert response.status_code in (200, 400)
    assert response.json()


REQUEST_ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "syntax": ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
    "comments only": ({"query": "# nothing"}, "GRAPHQL_PARSE_FAILED"),
    "unknown field": ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
    "undeclared variable": ({"query": "{ times(number: $n) }"}, "GRAPHQL_VALIDATION_FAILED"),
    "missing variable": ({"query": "query($n: Int!) { times(number: $n) }"}, "BAD_USER_INPUT"),
    "wrong variable": (
        {"query": "query($n: Int!) { times(number: $n) }", "variables": {"n": "two"}},
        "BAD_USER_INPUT",
    ),
    "unknown operation": ({"query": "query a { times }", "operationName": "b"}, "OPERATION_RESOLUTION_FAILURE"),
    "empty operation name": ({"query": "{ times }", "operationName": ""}, "OPERATION_RESOLUTION_FAILURE"),
    "unnamed choice": ({"query": "query a { times } query b { times }"}, "OPERATION_RESOLUTION_FAILURE"),
    "no operation": ({"query": "fragment f on Query { times }"}, "OPERATION_RESOLUTION_FAILURE"),
    "a schema": ({"query": "type Query { times: Int }"}, "OPERATION_RESOLUTION_FAILURE"),
    "too deep": ({"query": "{ me " * 20 + "{ times }" + "}" * 20}, "OPERATION_LIMIT_EXCEEDED"),
}


@pytest.mark.parametrize(("parameters", "code"), REQUEST_ERRORS.values(), ids=REQUEST_ERRORS.keys())
async def test_a_graphql_request_error_has_no_data_and_is_400_or_of_old_200(
    tiny_client: httpx2.AsyncClient, parameters: dict[str, Any], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    for media_type, status in ((NEW, 400), (JSON, 200)):
        response = await tiny_client.post("/graphql", json=parameters, headers={"Accept": media_type})
        assert response.status_code == status
        assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
        assert code_of(response) == code
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods_are_405_with_those_that_work(tiny_client: httpx2.AsyncClient, method: str) -> None:
    response = await tiny_client.request(method, "/graphql", json={"query": "{ times }"})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, POST"
    assert code_of(response) == "METHOD_NOT_ALLOWED"


async def test_a_refusal_in_a_resolver_is_part_of_a_200(tiny_client: httpx2.AsyncClient) -> None:
    response = await post(tiny_client, "{ refused }")
    assert response.status_code == 200
    assert "data" in response.json()
    assert len(response.json()["errors"]) == 1


@pytest.mark.parametrize(
    ("query", "data"),
    [
        ("{ unavailable }", None),
        ("{ databaseIsDown }", {"databaseIsDown": None}),
        ("{ times databaseIsDown refused }", {"times": 6, "databaseIsDown": None, "refused": None}),
    ],
)
@pytest.mark.parametrize("media_type", [JSON, NEW])
async def test_where_the_database_is_not_available_the_answer_is_a_503_with_what_is_known(
    tiny_client: httpx2.AsyncClient, query: str, data: object, media_type: str
) -> None:
    response = await post(tiny_client, query, accept=media_type)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert response.json()["data"] == data
    assert response.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryable": True}
    assert SECRET not in response.text


async def test_what_was_done_but_cannot_be_shown_is_a_503_that_asks_for_no_repetition(
    tiny_client: httpx2.AsyncClient,
) -> None:
    response = await post(tiny_client, "mutation { countUnseen }")
    assert (response.status_code, "retry-after" in response.headers) == (503, False)
    assert response.json() == {"data": {"countUnseen": None}}


async def test_a_refusal_shows_its_code_its_field_and_whether_to_retry(
    tiny_client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    refused = (await post(tiny_client, "{ refused }")).json()
    assert refused["data"] == {"refused": None}
    assert refused["errors"][0]["message"] == "No such service."
    assert refused["errors"][0]["path"] == ["refused"]
    assert refused["errors"][0]["extensions"] == {"code": "SERVICE_NOT_FOUND", "field": ["input", "service"]}
    unavailable = (await post(tiny_client, "{ unavailable }")).json()
    assert unavailable["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryable": True}
    assert caplog.records == []


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("wrong", HTTPStatus.UNAUTHORIZED, "INVALID_API_KEY"),
        ("powerless", HTTPStatus.FORBIDDEN, "FORBIDDEN"),
        ("too early", HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        ("down", HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("media_type", [JSON, NEW])
async def test_a_refusal_before_execution_has_the_status_of_its_kind(
    tiny_client: httpx2.AsyncClient, key: str, status: HTTPStatus, code: str, media_type: str
) -> None:
    response = await post(tiny_client, "{ times }", accept=media_type, headers={"X-API-Key": key})
    assert response.status_code == status
    assert code_of(response) == code
    assert response.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert response.headers.get("retry-after") == ("5" if status == 503 else None)


@pytest.mark.parametrize(("query", "path"), [("{ bug }", ["bug"]), ("{ w: wide }", ["w"])])
async def test_a_bug_is_masked_and_logged_once_under_the_id_the_client_got(
    tiny_client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, query: str, path: list[str]
) -> None:
    response = await post(tiny_client, query + " # comment-of-the-client", variables={"x": "variable-of-the-client"})
    assert response.status_code == 200
    [error] = response.json()["errors"]
    assert (error["message"], error["path"]) == ("Internal error.", path)
    assert error["extensions"]["code"] == "INTERNAL"
    assert SECRET not in response.text
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert error["extensions"]["errorId"] in record.getMessage()
    assert "Traceback" in caplog.text
    assert "of-the-client" not in caplog.text


@pytest.mark.parametrize(("query", "key"), [("{ times }", "bug"), ("{ unencodable }", "k1")])
async def test_a_bug_outside_the_resolvers_is_a_masked_500(
    tiny_client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, query: str, key: str
) -> None:
    response = await post(tiny_client, query, headers={"X-API-Key": key})
    assert response.status_code == 500
    assert response.headers["content-type"] == f"{NEW}; charset=utf-8"
    assert code_of(response) == "INTERNAL"
    assert response.json()["errors"][0]["extensions"]["errorId"] in caplog.text
    assert SECRET not in response.text


async def test_a_value_the_client_may_not_send_at_a_field_is_the_clients_error(
    tiny_client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = await post(tiny_client, "query($n: Int = 4) { times(number: $n) }", variables={"n": None})
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert caplog.records == []


async def test_a_browser_is_told_when_graphiql_is_off() -> None:
    app = Starlette(routes=GraphQLView(tiny_schema(), make_context).routes())
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
        page = await client.get("/graphql", headers={"Accept": "text/html"})
        assert page.status_code == 404
        assert code_of(page) == "NOT_FOUND"
        assert (await client.get("/graphql", params={"query": "{ times }"})).json() == {"data": {"times": 6}}
        assert (await client.get("/graphql/assets/boot.js")).status_code == 404

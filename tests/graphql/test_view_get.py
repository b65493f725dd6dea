"""Queries by GET: what the URL says, and what it cannot have done."""

import json
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from tests.graphql.tiny import MAX_URL_CHARS, code_of

JSON = "application/json"
NEW = "application/graphql-response+json"
TIMES = {"data": {"times": 6}}


async def get(
    client: httpx2.AsyncClient, query_string: str = "", headers: dict[str, str] | None = None, **parameters: str
) -> httpx2.Response:
    return await client.get(
        f"/graphql?{query_string or urlencode(parameters)}", headers={"Accept": NEW, **(headers or {})}
    )


async def test_a_query_by_get_is_answered_as_one_by_post(tiny_client: httpx2.AsyncClient) -> None:
    for accept in (JSON, NEW, "*/*"):
        response = await get(tiny_client, query="{ times }", headers={"Accept": accept})
        assert (response.status_code, response.json()) == (200, TIMES)
        assert response.headers["content-type"] == f"{NEW if accept == NEW else JSON}; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"


async def test_the_url_holds_variables_an_operation_name_and_extensions(tiny_client: httpx2.AsyncClient) -> None:
    response = await get(
        tiny_client,
        query="query a($n: Int!, $v: JSON!) { times(number: $n) echo(value: $v) } query b { apiKey }",
        variables=json.dumps({"n": 5, "v": "größe +&=🏃"}),
        operationName="a",
        extensions='{"x": 1}',
    )
    assert response.json() == {"data": {"times": 15, "echo": "größe +&=🏃"}}


@pytest.mark.parametrize("more", ["&variables=&operationName=&extensions=", "&variables=null", "&other=1", "&"])
async def test_an_empty_parameter_is_an_absent_one(tiny_client: httpx2.AsyncClient, more: str) -> None:
    assert (await get(tiny_client, f"query={{times}}{more}")).json() == TIMES


async def test_the_api_key_comes_in_its_header(tiny_client: httpx2.AsyncClient) -> None:
    response = await get(tiny_client, query="{ apiKey }", headers={"X-API-Key": "k1"})
    assert response.json() == {"data": {"apiKey": "k1"}}
    response = await get(tiny_client, query="{ apiKey }", api_key="k1")
    assert response.json() == {"data": {"apiKey": None}}


async def test_head_is_get_without_the_answer(tiny_client: httpx2.AsyncClient) -> None:
    for query, status in (("{ times }", 200), ("{ nothing }", 400), ("mutation { count }", 405)):
        response = await tiny_client.head("/graphql", params={"query": query}, headers={"Accept": NEW})
        assert (response.status_code, response.headers["content-type"]) == (status, f"{NEW}; charset=utf-8")


@pytest.mark.parametrize(
    "parameters",
    [
        {"query": "mutation { count }"},
        {"query": "query a { times } mutation b { count }", "operationName": "b"},
        {"query": "mutation { nothing }"},
    ],
)
@pytest.mark.parametrize("accept", [JSON, NEW])
async def test_a_mutation_by_get_is_405(
    tiny_client: httpx2.AsyncClient, parameters: dict[str, str], accept: str
) -> None:
    response = await get(tiny_client, headers={"Accept": accept}, **parameters)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert code_of(response) == "METHOD_NOT_ALLOWED"


async def test_a_query_beside_a_mutation_may_be_chosen(tiny_client: httpx2.AsyncClient) -> None:
    response = await get(tiny_client, query="query a { times } mutation b { count }", operationName="a")
    assert response.json() == TIMES


@pytest.mark.parametrize("accept", ["text/html", "text/html,application/xhtml+xml,*/*;q=0.8"])
async def test_a_browser_gets_the_page_whatever_the_url_says(tiny_client: httpx2.AsyncClient, accept: str) -> None:
    response = await get(tiny_client, query="{ times }", headers={"Accept": accept, "Sec-Fetch-Mode": "navigate"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(("mode", "status"), [("navigate", 403), ("no-cors", 403), ("cors", 200), ("same-origin", 200)])
async def test_a_link_or_an_image_of_another_page_runs_nothing(
    tiny_client: httpx2.AsyncClient, mode: str, status: int
) -> None:
    response = await get(tiny_client, query="{ times }", headers={"Accept": "*/*", "Sec-Fetch-Mode": mode})
    assert response.status_code == status
    if status == 403:
        assert code_of(response) == "FORBIDDEN"


MALFORMED: dict[str, tuple[str, int, str]] = {
    "nothing": ("", 400, "BAD_REQUEST"),
    "no query": ("operationName=a", 400, "BAD_REQUEST"),
    "query empty": ("query=", 400, "BAD_REQUEST"),
    "query twice": ("query={times}&query={times}", 400, "BAD_REQUEST"),
    "variables twice": ("query={times}&variables={}&variables={}", 400, "BAD_REQUEST"),
    "no UTF-8": ("query={times}%23%ff", 400, "BAD_REQUEST"),
    "a surrogate": ("query={times}%23%ed%a0%80", 400, "BAD_REQUEST"),
    "variables no JSON": ("query={times}&variables={", 400, "BAD_REQUEST"),
    "variables a list": ("query={times}&variables=[]", 400, "BAD_REQUEST"),
    "variables a string": ('query={times}&variables="{}"', 400, "BAD_REQUEST"),
    "variables deep": ("query={times}&variables=" + "[" * 1500, 400, "BAD_REQUEST"),
    "extensions a number": ("query={times}&extensions=1", 400, "BAD_REQUEST"),
    "a subscription": ("query=subscription{counting(to:1)}", 400, "BAD_REQUEST"),
    "syntax": ("query={", 400, "GRAPHQL_PARSE_FAILED"),
    "unknown field": ("query={nothing}", 400, "GRAPHQL_VALIDATION_FAILED"),
    "too long": ("query={times}&x=" + "x" * MAX_URL_CHARS, 414, "TOO_LARGE"),
}


@pytest.mark.parametrize(("query_string", "status", "code"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_url_gets_its_status_and_a_json_error(
    tiny_client: httpx2.AsyncClient, query_string: str, status: int, code: str
) -> None:
    response = await get(tiny_client, query_string)
    assert response.status_code == status
    assert response.headers["content-type"] == f"{NEW}; charset=utf-8"
    assert code_of(response) == code


async def test_the_url_may_be_as_long_as_its_limit(tiny_client: httpx2.AsyncClient) -> None:
    query_string = "query={times}&x="
    response: Any = await get(tiny_client, query_string + "x" * (MAX_URL_CHARS - len(query_string)))
    assert response.json() == TIMES

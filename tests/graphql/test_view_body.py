"""How much of a request's body is read."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.graphql.tiny import MAX_BODY_BYTES, MAX_DOCUMENT_CHARS, MAX_JSON_VALUES, code_of

POSTED = {"Content-Type": "application/json"}


async def test_a_body_at_the_limit_passes_and_one_over_is_413(tiny_client: httpx2.AsyncClient) -> None:
    frame = b'{"query": "{ times }", "variables": {"x": ""}}'
    exact = frame.replace(b'""', b'"' + b"x" * (MAX_BODY_BYTES - len(frame)) + b'"')
    response = await tiny_client.post("/graphql", content=exact, headers=POSTED)
    assert response.json() == {"data": {"times": 6}}
    over = await tiny_client.post("/graphql", content=exact + b" ", headers=POSTED)
    assert over.status_code == 413
    assert over.headers["connection"] == "close"
    assert code_of(over) == "TOO_LARGE"


async def test_a_body_of_unknown_length_is_read_no_further_than_the_limit(tiny_client: httpx2.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * MAX_BODY_BYTES:
            sent += 1000
            yield b" " * 1000

    response = await tiny_client.post("/graphql", content=endless(), headers=POSTED)
    assert response.status_code == 413
    assert code_of(response) == "TOO_LARGE"
    assert sent <= MAX_BODY_BYTES + 1000


@pytest.mark.parametrize("length", ["9" * 400, str(MAX_BODY_BYTES + 1)])
async def test_an_announced_length_over_the_limit_is_refused_unread(
    tiny_client: httpx2.AsyncClient, length: str
) -> None:
    headers = {**POSTED, "Content-Length": length}
    response = await tiny_client.post("/graphql", content=b"{}", headers=headers)
    assert response.status_code == 413


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_is_no_error(
    tiny_app: Starlette, caplog: pytest.LogCaptureFixture
) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"heliograph.test")],
    }
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"que', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[object] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    await tiny_app(scope, receive, send)
    assert sent == []
    assert caplog.records == []


async def test_a_document_of_too_many_characters_is_refused_unread(
    tiny_client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "{ times } #"
    exact = query + "x" * (MAX_DOCUMENT_CHARS - len(query))
    response = await tiny_client.post("/graphql", json={"query": exact})
    assert response.json() == {"data": {"times": 6}}

    def not_to_be_read(*arguments: object, **options: object) -> None:
        raise AssertionError("the document was read")

    monkeypatch.setattr("graphql.language.lexer.Lexer.advance", not_to_be_read)
    for media_type in ("application/json", "application/graphql-response+json"):
        response = await tiny_client.post("/graphql", json={"query": exact + "x"}, headers={"Accept": media_type})
        assert response.status_code == 413
        assert code_of(response) == "TOO_LARGE"
        message = response.json()["errors"][0]["message"]
        assert f"{MAX_DOCUMENT_CHARS + 1} characters; the limit is {MAX_DOCUMENT_CHARS}." in message


@pytest.mark.parametrize("value", ["[]", "0", "{}", '"a"', "[[]]"])
async def test_a_body_of_too_many_values_is_413(tiny_client: httpx2.AsyncClient, value: str) -> None:
    body = f'{{"query": "{{ times }}", "variables": {{"x": [{",".join([value] * MAX_JSON_VALUES)}]}}}}'
    response = await tiny_client.post("/graphql", content=body.encode(), headers=POSTED)
    assert response.status_code == 413
    assert code_of(response) == "TOO_LARGE"

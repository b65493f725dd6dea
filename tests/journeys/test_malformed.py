"""Whatever comes in over HTTP, a bare socket or a WebSocket: no 5xx, errors in JSON, the protocol's codes, no trace in
the log; and the server answers the next one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.http import http_client
from tests.journeys.program import ADMIN_KEY, Heliograph, Server

pytestmark = pytest.mark.timeout(300)

one_server = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)

PATHS = st.sampled_from(
    ["/graphql", "/graphql/", "/api/v2/email", "/api/v2/%ff", "/nothing", "/%00", "/docs/", "/graphql?q"]
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
TYPES = st.sampled_from(
    ["application/json", "application/json; charset=utf-16", "application/json; charset", "text/plain", "", ";", "\x7f",
     "multipart/form-data", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "a/b; c=\"", "é"]
)  # fmt: skip
ACCEPTS = st.sampled_from(
    ["*/*", "", "application/json", "application/graphql-response+json", "image/png", ";q=", "q=9", "é"]
)
ENCODINGS = st.sampled_from(["identity", "gzip", "br", "", "é"])
BODIES = st.one_of(
    st.binary(max_size=100),
    st.sampled_from([
        b"", b"null", b"\xff", b"\xef\xbb\xbf{}", b"[" * 5000, b'{"a":' * 5000, b"[" + b"[]," * 30_000 + b"0]",
        b'{"query": "{ __typename }", "variables": {"n": ' + b"9" * 5000 + b"}}", b'{"query": 1e999}', b'{"to": 1e999}',
        b'{"query": "{ message(id: ' + b"9" * 5000 + b') { id } }"}',
        b'{"query": "{ message(id: \\"\\u0000\\") { id } }"}',
        b'{"query": "query($n: Int) { messages(first: $n) { totalCount } }", "variables": {"n": 1e400}}',
        b'{"query": "\\ud800"}', b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=\"a\r\n\r\n", b"--x--",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", b"a=%ff&b=%zz&[=1&]=2&a[b[=3", b"&" * 2000,
        b'{"to": [[[[{}]]]], "subject": {}, "body_text": 1, "attachments": {"0": 1}}',
        b'{"to": "\\u0000", "subject": "\\n"}',
    ]),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                 lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                     st.sampled_from(["query", "variables", "operationName", "to", "template_data", "attachments"]),
                     inner, max_size=3), max_leaves=8).map(lambda value: json.dumps(value).encode()),
)  # fmt: skip
REQUEST = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
PIECES = st.sampled_from(
    [REQUEST, REQUEST[:40], REQUEST.replace(b": 2", b": -2"), REQUEST.replace(b": 2", b": 2\r\nContent-Length: 3"),
     REQUEST.replace(b": 2", b": 2\r\nTransfer-Encoding: chunked"), REQUEST.replace(b"1.1", b"9.9"), b"\0" * 9,
     b"\r\n\r\n",
     b"GET / HTTP/0.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
     b"GET \xff HTTP/1.1\r\n\r\n",
     b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /graphql HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     b"GET /graphql HTTP/1.1\r\nNo colon\r\n\r\n", b"GET /graphql HTTP/1.1\r\nA: b\0c\r\n\r\n"]
)  # fmt: skip
IDS: st.SearchStrategy[object] = st.sampled_from(["1", "2", "", "é" * 99, None, 1, []])
QUERIES = st.sampled_from(
    ["{ __typename }", "{", "", "subscription { a }", "{ viewer { roleName } }", None, 1, "{ a" * 999]
)
MESSAGES = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20),
    st.sampled_from(["[" * 5000, "null", "1e999", '{"type": "ping", "payload": 1}', '{"type": "pong", "payload": []}']),
    st.sampled_from([{"X-API-Key": ADMIN_KEY}, {"X-API-Key": "no"}, {"X-API-Key": 1}, None, 1, [], {}]).map(
        lambda payload: json.dumps({"type": "connection_init", "payload": payload})
    ),
    st.builds(
        lambda key, kind: json.dumps({"type": kind, "id": key}), IDS, st.sampled_from(["complete", "next", "x", 1])
    ),
    st.builds(
        lambda key, query, more: json.dumps({"type": "subscribe", "id": key, "payload": {"query": query, **more}}),
        IDS,
        QUERIES,
        st.sampled_from([{}, {"variables": 1}, {"variables": {}}, {"operationName": 1}, {"extensions": 1}]),
    ),
)
CLOSE_CODES = {1007, 1013, 4400, 4401, 4403, 4409, 4429}
INIT = json.dumps({"type": "connection_init", "payload": {"X-API-Key": ADMIN_KEY}})
PING, PONG = '{"type": "ping"}', {"type": "pong"}


@pytest.fixture
async def server(heliograph: Heliograph) -> AsyncIterator[Server]:
    """A server, which has nothing to complain of at the end."""
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        yield server
        async with http_client(server.url) as http:
            response = await http.post("/graphql", json={"query": "{ __typename }"})
        assert response.json() == {"data": {"__typename": "Query"}}
        assert "Traceback" not in server.errors, server.errors[server.errors.find("Traceback") - 300 :][:3000]
        assert "ERROR" not in server.errors


@one_server
@given(METHODS, PATHS, TYPES, ACCEPTS, ENCODINGS, BODIES)
async def test_any_request_is_answered_in_json(
    server: Server, method: str, path: str, content_type: str, accept: str, encoding: str, body: bytes
) -> None:
    given = {"Content-Type": content_type, "Accept": accept, "Content-Encoding": encoding, "X-API-Key": ADMIN_KEY}
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    async with http_client(server.url) as http:
        response = await http.request(method, path, headers=headers, content=body)
    assert response.status_code < 500, response.text
    if response.content and response.status_code != 200:
        assert response.headers["content-type"].split(";")[0].endswith("json")
        assert response.json()


@one_server
@given(st.lists(PIECES, min_size=1, max_size=4), st.booleans())
async def test_what_is_no_http_is_a_400_in_json(server: Server, pieces: list[bytes], at_once: bool) -> None:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    answer = b""
    with suppress(OSError):  # it hangs up at the first piece that it cannot read
        for piece in [b"".join(pieces)] if at_once else pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    with suppress(ConnectionError):
        async with asyncio.timeout(20):
            answer = await reader.read()
    writer.close()
    for head in answer.split(b"HTTP/1.1 ")[1:]:
        assert head[:1] in b"24", answer
        assert b"text/plain" not in head or head.startswith(b"200"), answer


async def test_what_is_no_http_says_so_to_the_clients_of_either_door(server: Server) -> None:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    async with asyncio.timeout(20):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Type: application/json" in head
    answer = json.loads(body)
    assert answer["error"]["code"] == answer["error"]["status_code"] == 400
    assert answer["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}


@one_server
@given(st.booleans(), st.lists(MESSAGES, min_size=1, max_size=5))
async def test_any_message_is_answered_or_closes_with_a_code_of_the_protocol(
    server: Server, initialised: bool, messages: list[str | bytes]
) -> None:
    url = server.url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        with suppress(ConnectionClosed):
            for message in [*([INIT] if initialised else []), *messages, PING]:
                await socket.send(message)
        said = await _until_pong(socket)
    assert said[-1:] == [PONG] or socket.close_code in CLOSE_CODES, (socket.close_code, socket.close_reason)
    assert {message["type"] for message in said} <= {"connection_ack", "pong", "next", "error", "complete"}


async def _until_pong(socket: ClientConnection) -> list[dict[str, Any]]:
    """What the server says until it has answered the last ping, or closes."""
    said: list[dict[str, Any]] = []
    with suppress(ConnectionClosed):
        async with asyncio.timeout(20):
            while said[-1:] != [PONG]:
                said.append(json.loads(await socket.recv()))
    return said

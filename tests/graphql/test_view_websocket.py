import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.graphql.tiny import (
    MAX_DOCUMENT_CHARS,
    MAX_JSON_VALUES,
    MAX_OPERATIONS_PER_SOCKET,
    MAX_SOCKETS_PER_KEY,
    SECRET,
)

TRANSPORT_WS = "graphql-transport-ws"

Connect = Callable[..., AbstractAsyncContextManager[ClientConnection]]


@pytest.fixture
def open_socket(tiny_app: Starlette, serve: Callable[[ASGIApp], str]) -> Connect:
    url = serve(tiny_app).replace("http", "ws") + "/graphql"

    @asynccontextmanager
    async def connected(protocol: str = TRANSPORT_WS, **options: Any) -> AsyncIterator[ClientConnection]:
        async with connect(url, subprotocols=[protocol], **options) as socket:  # type: ignore[list-item]
            yield socket

    return connected


async def send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def receive(socket: ClientConnection) -> dict[str, Any]:
    text = await socket.recv()
    assert isinstance(text, str), "the protocol has text frames only"
    message: dict[str, Any] = json.loads(text)
    return message


async def init(socket: ClientConnection, key: str = "k1") -> None:
    await send(socket, type="connection_init", payload={"X-API-Key": key})
    assert await receive(socket) == {"type": "connection_ack"}


async def subscribe(socket: ClientConnection, query: str, **payload: Any) -> None:
    await send(socket, type="subscribe", id="1", payload={"query": query, **payload})


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """How the server closes, once every message before that has been read."""
    with suppress(ConnectionClosed):
        while True:
            await socket.recv()
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


async def test_a_subscription_delivers_each_value_and_completes(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket)
        await subscribe(socket, "subscription($to: Int!) { counting(to: $to) }", variables={"to": 2})
        for number in (1, 2):
            expected = {"id": "1", "type": "next", "payload": {"data": {"counting": number}}}
            assert await receive(socket) == expected
        assert await receive(socket) == {"id": "1", "type": "complete"}


async def test_the_api_key_comes_from_connection_init(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket, "from-init")
        await subscribe(socket, "subscription { keySeen }")
        assert (await receive(socket))["payload"] == {"data": {"keySeen": "from-init"}}


async def test_a_query_runs_over_the_socket_too(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket)
        await subscribe(socket, "{ times }")
        assert (await receive(socket))["payload"] == {"data": {"times": 6}}
        assert (await receive(socket))["type"] == "complete"


async def test_database_trouble_in_an_operation_leaves_the_socket_usable(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket)
        await subscribe(socket, "{ databaseIsDown }")
        (error,) = (await receive(socket))["payload"]["errors"]
        assert error["extensions"] == {"code": "UNAVAILABLE", "retryable": True}
        assert (await receive(socket))["type"] == "complete"
        await subscribe(socket, "{ times }")
        assert (await receive(socket))["payload"] == {"data": {"times": 6}}


async def test_database_trouble_at_connection_init_asks_to_connect_again_later(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await send(socket, type="connection_init", payload={"X-API-Key": "down"})
        assert await closed(socket) == (1013, "The database is not available right now")


async def test_a_refused_connection_init_closes_with_4403(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await send(socket, type="connection_init", payload={"X-API-Key": "wrong"})
        assert await closed(socket) == (4403, "Forbidden")


async def test_subscribing_before_connection_init_closes_with_4401(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await subscribe(socket, "{ times }")
        assert (await closed(socket))[0] == 4401


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription($n: Int!) { counting(to: $n) }", "BAD_USER_INPUT"),
        ("{ me " * 20 + "{ times }" + "}" * 20, "OPERATION_LIMIT_EXCEEDED"),
        ("{ ...f0 }" + "".join(f" fragment f{n} on Query {{ me {{ ...f{n + 1} ...f{n + 1} }} }}" for n in range(40)),
         "OPERATION_LIMIT_EXCEEDED"),
        ("a " * 5000, "GRAPHQL_PARSE_FAILED"),
        ("query a { times } query b { times }", "OPERATION_RESOLUTION_FAILURE"),
        ("fragment f on Query { times }", "OPERATION_RESOLUTION_FAILURE"),
        ("", "BAD_REQUEST"),
    ],
)  # fmt: skip
async def test_a_request_error_ends_the_operation_and_leaves_the_socket_open(
    open_socket: Connect, query: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_socket() as socket:
        await init(socket)
        await subscribe(socket, query)
        message = await receive(socket)
        assert (message["type"], message["id"]) == ("error", "1")
        assert [error["extensions"]["code"] for error in message["payload"]] == [code]
        await subscribe(socket, "{ times }")
        assert (await receive(socket))["payload"] == {"data": {"times": 6}}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_unknown_operation_name_of_any_length_is_an_error_message(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket)
        await subscribe(socket, "query a { times }", operationName="b" * 1000)
        [error] = (await receive(socket))["payload"]
        assert error["extensions"]["code"] == "OPERATION_RESOLUTION_FAILURE"


async def test_a_bug_in_a_subscription_is_masked_and_logged_once(
    open_socket: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_socket() as socket:
        await init(socket)
        await subscribe(socket, "subscription { breaking }")
        assert (await receive(socket))["payload"] == {"data": {"breaking": 1}}
        message = await receive(socket)
        [error] = message["payload"]["errors"]
        assert error["message"] == "Internal error."
        assert SECRET not in json.dumps(message)
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert error["extensions"]["errorId"] in record.getMessage()


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[" * 100_000,
        "[]",
        "null",
        '"abc"',
        "{}",
        '{"type": []}',
        json.dumps({"type": "x" * 1000}),
        '{"type": "subscribe", "id": [], "payload": {"query": "{ times }"}}',
        '{"type": "subscribe", "id": "1", "payload": []}',
        '{"type": "subscribe", "id": "1", "payload": {"query": 1}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ times }", "variables": []}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ times }", "operationName": 1}}',
        '{"type": "complete"}',
        b"\x00\x01",
    ],
)
async def test_a_message_of_the_wrong_shape_closes_with_4400(
    open_socket: Connect, text: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_socket() as socket:
        await init(socket)
        await socket.send(text)
        assert (await closed(socket))[0] == 4400
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_two_operations_of_one_long_id_close_with_4409(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket)
        for _ in range(2):
            payload = {"query": "subscription { silence }"}
            await send(socket, type="subscribe", id="é" * 200, payload=payload)
        code, reason = await closed(socket)
        assert code == 4409
        assert len(reason.encode()) <= 123


async def test_one_operation_too_many_is_refused_alone(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket)
        for number in range(MAX_OPERATIONS_PER_SOCKET + 1):
            await send(socket, type="subscribe", id=str(number), payload={"query": "subscription { silence }"})
        refused = await receive(socket)
        assert (refused["type"], refused["id"]) == ("error", str(MAX_OPERATIONS_PER_SOCKET))
        (error,) = refused["payload"]
        assert error["extensions"] == {"code": "OPERATION_LIMIT_EXCEEDED"}
        assert f"{MAX_OPERATIONS_PER_SOCKET} operations under way" in error["message"]
        await send(socket, type="complete", id="0")
        await send(socket, type="subscribe", id="next", payload={"query": "{ times }"})
        assert (await receive(socket))["payload"] == {"data": {"times": 6}}


async def test_one_socket_too_many_of_a_key_is_closed_with_1013_until_another_one_ends(open_socket: Connect) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(open_socket()) for _ in range(MAX_SOCKETS_PER_KEY)]
        for socket in sockets:
            await init(socket)
        async with open_socket() as one_more:
            await send(one_more, type="connection_init", payload={"X-API-Key": "k1"})
            said = f"This API key has {MAX_SOCKETS_PER_KEY} WebSockets open, which is the limit"
            assert await closed(one_more) == (1013, said)
        async with open_socket() as of_another:
            await init(of_another, "k2")
        await sockets[0].close()
        async with asyncio.timeout(20):
            while not await acknowledged(open_socket):  # noqa: ASYNC110 - no event reaches from there to here
                await asyncio.sleep(0.02)


async def acknowledged(open_socket: Connect) -> bool:
    """Whether one more socket of the key may connect."""
    async with open_socket() as socket:
        await send(socket, type="connection_init", payload={"X-API-Key": "k1"})
        with suppress(ConnectionClosed):
            return await receive(socket) == {"type": "connection_ack"}
        return False


async def test_sockets_that_were_refused_or_never_said_who_they_are_are_not_counted(open_socket: Connect) -> None:
    for _ in range(MAX_SOCKETS_PER_KEY + 1):
        async with open_socket() as socket:
            await send(socket, type="connection_init", payload={"X-API-Key": "wrong"})
            assert (await closed(socket))[0] == 4403
    async with AsyncExitStack() as stack:
        for _ in range(MAX_SOCKETS_PER_KEY + 1):
            await stack.enter_async_context(open_socket())
        async with open_socket() as socket:
            await init(socket)


async def test_a_document_of_too_many_characters_is_refused_alone(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket)
        await subscribe(socket, "{ times } #" + "x" * MAX_DOCUMENT_CHARS)
        refused = await receive(socket)
        assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "TOO_LARGE")
        await subscribe(socket, "{ times }")
        assert (await receive(socket))["payload"] == {"data": {"times": 6}}


async def test_a_message_of_too_many_values_closes_with_4400(open_socket: Connect) -> None:
    async with open_socket() as socket:
        await init(socket)
        await subscribe(socket, "{ times }", variables={"x": [[]] * MAX_JSON_VALUES})
        assert await closed(socket) == (4400, f"The JSON has more than {MAX_JSON_VALUES} values, which is the limit.")


@pytest.mark.parametrize("protocol", ["graphql-ws", "mqtt"])
async def test_only_graphql_transport_ws_is_spoken(open_socket: Connect, protocol: str) -> None:
    async with open_socket(protocol) as socket:
        assert socket.subprotocol is None
        assert (await closed(socket))[0] == 4406


async def test_a_page_of_another_origin_may_not_connect(open_socket: Connect) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with open_socket(origin="https://evil.example"):
            pass
    assert caught.value.response.status_code == 403

"""Slow, endless and too many clients, over real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.server import ServerState

from app.edge.application import at_the_edge
from app.edge.protocol import bounded_protocol
from app.settings import Settings

pytestmark = pytest.mark.usefixtures("idle_clock")

SOON = 0.1
NEVER = 3600
BOTH = {"header_timeout": SOON, "body_timeout": SOON}
PATIENT = {"header_timeout": NEVER, "body_timeout": NEVER}
HEADER = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


@dataclass
class Web:
    """A server, and what its application met."""

    port: int
    asked: asyncio.Event
    release: asyncio.Event
    disconnects: int = 0

    async def connect(self) -> "Client":
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def rest(self) -> bytes:
        """Everything up to the end of the connection, for which the server has to see."""
        try:
            async with asyncio.timeout(20):
                return await self.reader.read()
        except ConnectionResetError:
            return b""
        finally:
            self.writer.close()

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(20):
            return await self.reader.readuntil(end)


Serve = Callable[..., AbstractAsyncContextManager[Web]]


@asynccontextmanager
async def serving(
    application: ASGIApp | None = None, /, *, keep_alive: Any = NEVER, **given: Any
) -> AsyncIterator[Web]:
    settings = Settings.model_validate(PATIENT | given)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        web = Web(listening.getsockname()[1], asyncio.Event(), asyncio.Event())
        config = uvicorn.Config(
            at_the_edge(application or _application(web), settings),
            http=bounded_protocol(settings),
            access_log=False,
            log_config=None,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=keep_alive,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield web
        finally:
            web.release.set()
            server.should_exit = True
            await running


def _application(web: Web) -> Starlette:
    async def length(request: Request) -> Response:
        web.asked.set()
        if request.url.path == "/late":
            await web.release.wait()
        try:
            return PlainTextResponse(str(len(await request.body())))
        except ClientDisconnect:
            web.disconnects += 1
            return Response()

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
        except WebSocketDisconnect:
            pass

    paths = [Route(path, length, methods=["GET", "POST"]) for path in ("/", "/late")]
    return Starlette(routes=[*paths, WebSocketRoute("/ws", echo)])


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", HEADER + b"1234" + b"GET / HTTP/1.1"]
)
async def test_a_header_that_does_not_end_in_time_ends_the_connection(sent: bytes) -> None:
    async with serving(header_timeout=SOON) as web:
        client = await web.connect()
        client.writer.write(sent)
        answered = await client.rest()
        assert answered.startswith(b"HTTP/1.1 200" if b"1234" in sent else b"")
        assert answered.count(b"HTTP/1.1") == (1 if b"1234" in sent else 0)


async def test_a_header_that_trickles_gets_no_more_time() -> None:
    async with serving(header_timeout=SOON) as web:
        client = await web.connect()
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        trickling = asyncio.create_task(_trickle(client, b"X-A: b\r\n"))
        assert await client.rest() == b""
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)


async def _time_passes(web: Web) -> None:
    """As much as a header has: another client, which sends none, is turned away."""
    assert await (await web.connect()).rest() == b""


async def _trickle(client: Client, line: bytes) -> None:
    while not client.writer.is_closing():
        client.writer.write(line)
        await asyncio.sleep(SOON / 10)


@pytest.mark.parametrize("sent", [b"", b"12"])
async def test_a_body_that_pauses_too_long_ends_the_connection_and_the_request(sent: bytes) -> None:
    async with serving(body_timeout=SOON) as web:
        client = await web.connect()
        client.writer.write(HEADER + sent)
        assert await client.rest() == b""
        assert web.disconnects == 1


@pytest.mark.parametrize("field", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_a_websocket_that_announces_a_body_is_refused(field: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    async with serving() as web:
        client = await web.connect()
        client.writer.write(b"GET /ws HTTP/1.1\r\n" + upgrade + field + b"\r\n\r\n1")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_the_time_for_a_header_does_not_count_for_the_body_nor_for_the_answer_nor_for_the_next_request() -> None:
    async with serving(header_timeout=SOON) as web:
        client = await web.connect()
        client.writer.write(HEADER.replace(b" / ", b" /late "))
        await web.asked.wait()
        client.writer.write(b"1234")
        client.writer.write(b"\r\n")
        await _time_passes(web)
        web.release.set()
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await client.until(b"4") == b"4"
        client.writer.write(HEADER + b"1234")
        assert (await client.until(b"\r\n\r\n4")).startswith(b"HTTP/1.1 200")
        client.writer.close()


async def test_a_client_that_waits_to_be_asked_for_its_body_is_not_late() -> None:
    async with serving(**BOTH) as web:
        client = await web.connect()
        client.writer.write(
            HEADER.replace(b" / ", b" /late ").replace(b"Host: x\r\n", b"Host: x\r\nExpect: 100-continue\r\n")
        )
        await web.asked.wait()
        await _time_passes(web)
        web.release.set()
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"1234")
        assert (await client.until(b"\r\n\r\n4")).startswith(b"HTTP/1.1 200")
        client.writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 3000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 400 + b"\r\n",
        b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 3000,
        b"x" * 3000,
    ],
)
async def test_a_header_over_the_limit_is_refused_in_json_whole_or_not(sent: bytes) -> None:
    async with serving(max_header_bytes=2000) as web:
        client = await web.connect()
        client.writer.write(sent)
        header, _, body = (await client.rest()).partition(b"\r\n\r\n")
        status = 400 if sent.startswith(b"xx") else 431
        assert header.startswith(f"HTTP/1.1 {status} ".encode())
        assert json.loads(body)["error"]["status_code"] == status
        assert b"content-type: application/json" in header.lower()
        assert not web.asked.is_set()


async def test_a_header_over_the_limit_behind_another_request_is_refused() -> None:
    for first, rest in ((3000, 0), (1900, 300), (100, 1990), (0, 3000)):
        async with serving(max_header_bytes=2000) as web:
            client = await web.connect()
            client.writer.write(HEADER + b"1234GET / HTTP/1.1\r\nX-Long: " + b"x" * first)
            assert (await client.until(b"\r\n\r\n4")).startswith(b"HTTP/1.1 200")
            client.writer.write(b"x" * rest + b"\r\n\r\n")
            assert b"HTTP/1.1 431 " in await client.rest()


async def test_fields_of_few_octets_count_as_much_as_ever() -> None:
    for number, status in ((390, b"200"), (400, b"431")):
        async with serving(max_header_bytes=2000) as web:
            client = await web.connect()
            client.writer.write(b"GET / HTTP/1.1\r\n" + b"A:\r\n" * number + b"Connection: close\r\n\r\n")
            assert (await client.rest()).startswith(b"HTTP/1.1 " + status)


async def test_a_header_under_the_limit_passes_however_long_the_body() -> None:
    async with serving(max_header_bytes=2000) as web:
        client = await web.connect()
        for _ in range(3):
            client.writer.write(b"POST / HTTP/1.1\r\nX-Long: " + b"x" * 1900 + b"\r\nContent-Length: 100000\r\n\r\n")
            client.writer.write(b"y" * 100_000)
            assert (await client.until(b"\r\n\r\n100000")).startswith(b"HTTP/1.1 200")
        client.writer.close()


CHUNKED = HEADER.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("piece", [b"X-A: b\r\n" * 100, b"x" * 800], ids=["fields", "one field"])
@pytest.mark.parametrize("chunk", [b"4\r\n1234\r\n", b""], ids=["body", "no body"])
async def test_a_trailer_without_end_is_refused_in_json(piece: bytes, chunk: bytes) -> None:
    async with serving(max_header_bytes=2000) as web:
        client = await web.connect()
        client.writer.write(CHUNKED + chunk + b"0\r\nX-Long: ")
        trickling = asyncio.create_task(_trickle(client, piece))
        answered = await client.rest()
        assert answered.startswith(b"HTTP/1.1 431 ")
        assert b"application/json" in answered
        await asyncio.gather(trickling, return_exceptions=True)
        assert web.disconnects == 1


async def test_a_trailer_without_end_behind_the_answer_ends_the_connection() -> None:
    async with serving(max_header_bytes=2000) as web:
        client = await web.connect()
        client.writer.write(CHUNKED.replace(b" / ", b" /nowhere ") + b"0\r\n")
        assert (await client.until(b"\r\n\r\nNot Found")).startswith(b"HTTP/1.1 404 ")
        trickling = asyncio.create_task(_trickle(client, b"X-A: b\r\n" * 100))
        assert await client.rest() == b""
        await asyncio.gather(trickling, return_exceptions=True)


@pytest.mark.parametrize("more", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"], ids=["usual", "upgrade"])
async def test_nothing_that_stands_in_a_trailer_is_heard(more: bytes) -> None:
    heard: list[bytes] = []

    async def names(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        heard.extend(name for name, _ in scope["headers"])
        await PlainTextResponse(body)(scope, receive, send)

    header = CHUNKED.replace(b"Host: x\r\n", b"Host: x\r\n" + more)
    trailer = b"X-API-Key: k\r\nUpgrade: websocket\r\n\r\n"
    async with serving(names) as web:
        for first, rest in ((header + b"0\r\n" + trailer, b""), (header, b"4\r\n1234\r\n0\r\n" + trailer)):
            client = await web.connect()
            client.writer.write(first)
            client.writer.write(rest)
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            client.writer.close()
    assert b"host" in heard
    assert b"x-api-key" not in heard


async def test_a_chunked_body_with_a_trailer_under_the_limit_passes_and_so_does_the_next_request() -> None:
    async with serving(max_header_bytes=2000) as web:
        client = await web.connect()
        for _ in range(3):
            client.writer.write(CHUNKED + b"1\r\ny\r\n" * 5000)
            client.writer.write(b"0\r\nX-Long: " + b"x" * 1900 + b"\r\n\r\n")
            assert (await client.until(b"\r\n\r\n5000")).startswith(b"HTTP/1.1 200")
        client.writer.close()


async def test_connections_over_the_limit_are_answered_with_503_and_closed() -> None:
    async with serving(max_connections=1) as web:
        first, second = await web.connect(), await web.connect()
        first.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await first.until(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
        second.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        header, _, body = (await second.rest()).partition(b"\r\n\r\n")
        assert header.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5" in header.lower()
        assert json.loads(body)["error"]["status_code"] == 503
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"ws://127.0.0.1:{web.port}/ws")
        assert refused.value.response.status_code == 503
        first.writer.close()
        await first.writer.wait_closed()


async def test_a_websocket_lives_on_and_has_an_id() -> None:
    async with serving(**BOTH) as web, websockets.connect(f"ws://127.0.0.1:{web.port}/ws") as client:
        assert client.response is not None
        assert len(client.response.headers["x-request-id"]) == 16
        await _time_passes(web)
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_a_connection_without_a_request_ends_after_its_time_but_never_while_one_is_answered() -> None:
    async with serving(keep_alive=SOON) as web:
        client = await web.connect()
        for path in (b" / ", b" /late "):  # the second one begins while the timer of the first one runs
            client.writer.write(HEADER.replace(b" / ", path) + b"1234")
            if path == b" / ":
                assert await client.until(b"\r\n\r\n4")
                web.asked.clear()
        await web.asked.wait()
        for _ in range(2):
            other = await web.connect()
            other.writer.write(HEADER + b"1234")
            assert (await other.rest()).endswith(b"\r\n\r\n4"), "it ends by itself, once its time is over"
        web.release.set()
        assert (await client.rest()).endswith(b"\r\n\r\n4")


async def test_a_connection_has_no_more_attributes_than_are_found_at_once() -> None:
    """CPython 3.11 keeps 30 where it finds them without a dictionary; uvicorn may come to have more."""
    config = uvicorn.Config(_answer_nothing, http=bounded_protocol(Settings.model_validate(PATIENT)), log_config=None)
    config.load()
    connections: list[Any] = []

    def connection() -> asyncio.Protocol:
        connections.append(config.http_protocol_class(config=config, server_state=ServerState(), app_state={}))  # type: ignore[call-arg]
        return cast(asyncio.Protocol, connections[0])

    async with await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 204 No Content\r\n"
        writer.close()
    assert len(vars(connections[0])) <= 30


async def _answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=204)(scope, receive, send)

"""A request begins as uvicorn would have it begin, whatever it is."""

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.answer import WHOLE
from app.edge.protocol import BoundedProtocol
from app.indexed import FIRST_FIELDS


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 5)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.written += b"closed"


async def met(kind: type[HttpToolsProtocol], octets: bytes, **told: Any) -> list[Any]:
    """What the application meets of these requests, and what goes out."""
    scopes: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        scopes.append({**scope, "body": message})
        header = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": header})
        await send({"type": "http.response.body", "body": b""})

    given = {"access_log": False, "log_config": None, "lifespan": "off", "server_header": False, **told}
    config = uvicorn.Config(application, **given)
    config.load()
    protocol = kind(config, ServerState(), {}, asyncio.get_running_loop())
    transport = Transport()
    protocol.connection_made(transport)
    protocol.data_received(octets)
    while protocol.tasks:
        await asyncio.gather(*protocol.tasks)
    protocol.connection_lost(None)
    for scope in scopes:
        scope.pop("extensions", {WHOLE})
        scope.pop(FIRST_FIELDS, None)
    return [scopes, transport.written]


BODY = b"content-length: 2\r\n\r\nhi"
REQUESTS = [
    b"POST /api/v2/relay HTTP/1.1\r\nHost: x\r\n" + BODY,
    b"POST /api/v2/relay?api_key=secret HTTP/1.1\r\nHost: x\r\n" + BODY,
    b"POST /api/v2/re%6Cay HTTP/1.1\r\nHost: x\r\n" + BODY,
    b"POST http://x/api/v2/relay HTTP/1.1\r\nHost: x\r\n" + BODY,
    b"POST //twice/./../a.b_c-d HTTP/1.1\r\nHost: x\r\n" + BODY,
    b"POST /a#b HTTP/1.1\r\nHost: x\r\n" + BODY,
    b"POST /" + 200 * b"a" + b" HTTP/1.1\r\nHost: x\r\n" + BODY,
    b"POST /a HTTP/1.0\r\n" + BODY,
    b"POST /a HTTP/1.0\r\nConnection: keep-alive\r\n" + BODY,
    b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + BODY,
    b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + BODY,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    3 * (b"POST /a HTTP/1.1\r\nHost: x\r\n" + BODY) + b"POST /a?b HTTP/1.1\r\nHost: x\r\n" + BODY,
]


@pytest.mark.parametrize("octets", REQUESTS)
@pytest.mark.parametrize("told", [{}, {"root_path": "/below"}, {"limit_concurrency": 1}])
async def test_a_request_is_met_as_uvicorn_tells_it(octets: bytes, told: dict[str, Any]) -> None:
    ours, theirs = await met(BoundedProtocol, octets, **told), await met(HttpToolsProtocol, octets, **told)
    assert ours == theirs
    assert ours[1].startswith(b"HTTP/1.1 ")

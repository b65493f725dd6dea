"""A header section that is known is answered as one that is read field by field."""

import asyncio
from typing import Any

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.edge.known_header import KnownHeader, known_header
from app.edge.protocol import BoundedProtocol
from app.indexed import FIRST_FIELDS, first_fields

FIELDS = b"Host: x\r\nX-API-Key: canary\r\nAccept: */*\r\naccept: text/html\r\n"


def post(length: bytes, body: bytes, fields: bytes = FIELDS, line: bytes = b"POST /a%20b?c=d HTTP/1.1") -> bytes:
    return line + b"\r\n" + fields + b"Content-Length: " + length + b"\r\nPrefer: respond-async\r\n\r\n" + body


USUAL = [post(b"3", b"abc"), post(b"12", b"x" * 12), post(b"0", b""), post(b"5", b"\r\n\r\na")]
ODD = [
    post(b"0003", b"abc"),
    post(b" 3 ", b"abc"),
    post(b"3", b"abcd"),
    post(b"+3", b"abc"),
    post(b"", b""),
    post(b"3" * 30, b"abc"),
    post(b"3", b"abc", FIELDS + b"Connection: close\r\n"),
    post(b"3", b"abc", FIELDS + b"Expect: 100-continue\r\n"),
    post(b"3", b"abc", FIELDS + b"Upgrade: other\r\nConnection: upgrade\r\n"),
    post(b"3", b"abc", FIELDS + b"Content-Length: 3\r\n"),
    post(b"3", b"abc", FIELDS + b"X: a\r\n content-length: 2\r\n"),
    post(b"3", b"abc", FIELDS + b"X-Content-Length: 2\r\n"),
    post(b"3", b"abc", b""),
    post(b"3", b"abc", line=b"POST / HTTP/1.0"),
    post(b"3", b"abc", line=b"PUT / HTTP/1.1"),
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: y\r\n\r\n",
    b"\r\n",
    b"POST",
]


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, octets: bytes) -> None:
        self.written.append(octets)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> Any:
        return {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 5555)}.get(name)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Connection:
    """A connection to an application that tells of each request."""

    def __init__(self, *, learns: bool) -> None:
        class Protocol(BoundedProtocol):
            _to_be_known = 3 if learns else 0

        self.asked: list[Any] = []
        self.transport = Transport()
        config = uvicorn.Config(self._answer, interface="asgi3", proxy_headers=False, log_config=None, access_log=False)
        self.protocol = Protocol(config, ServerState(), {"state": "of the application"})
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, is_more = b"", True
        while is_more:
            message = await receive()
            body += message.get("body", b"")
            is_more = message.get("more_body", False)
        seen = {name: value for name, value in scope.items() if name != FIRST_FIELDS} | {"headers": [*scope["headers"]]}
        self.asked.append((seen, dict(first_fields(scope)), body))
        scope["state"]["changed"], scope["path"] = len(self.asked), "changed"
        scope["headers"].append((b"changed", b""))
        first_fields(scope)[b"changed"] = b""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def send(self, pieces: list[bytes], *, at_once: bool) -> list[Any]:
        """Everything that becomes of these pieces."""
        for piece in pieces:
            if not self.transport.closed:
                self.protocol.data_received(piece)
            if not at_once:
                await self._settled()
        await self._settled()
        self.protocol.connection_lost(None)
        await self._settled()
        return [self.asked, self.transport.written, self.transport.closed]

    async def _settled(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)


requests = st.lists(st.sampled_from(USUAL * 3 + ODD), max_size=6)


@given(requests, st.lists(st.integers(0, 400), max_size=3), st.booleans(), st.booleans())
@example(USUAL, [], False, False)
@example(USUAL, [], True, False)
@example(USUAL, [], False, True)
def test_a_known_header_changes_no_answer(sent: list[bytes], cuts: list[int], joined: bool, at_once: bool) -> None:
    pieces = [b"".join(sent)] if joined else list(sent)
    for cut in cuts:
        pieces = [part for piece in pieces for part in (piece[:cut], piece[cut:]) if part]

    async def both() -> list[list[Any]]:
        return [await Connection(learns=learns).send(pieces, at_once=at_once) for learns in (True, False)]

    with asyncio.Runner() as runner:
        learning, plain = runner.run(both())
    assert learning == plain
    assert learning[0] or not set(sent) & set(USUAL) or set(sent) & set(ODD) or cuts


async def test_what_is_known_does_not_go_through_the_parser_again() -> None:
    connection = Connection(learns=True)
    parser = connection.protocol.parser

    class Counting:
        fed = 0

        def feed_data(self, data: bytes) -> None:
            Counting.fed += 1
            parser.feed_data(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(parser, name)

    connection.protocol.parser = Counting()  # type: ignore[assignment]
    await connection.send([*USUAL, post(b"3", b"abc", b""), *USUAL[:2]], at_once=False)
    assert [body for *_, body in connection.asked] == [b"abc", b"x" * 12, b"", b"\r\n\r\na", b"abc", b"abc", b"x" * 12]
    assert Counting.fed == 3


SCOPE = {"method": "POST", "http_version": "1.1", "headers": [(b"content-length", b"3")]}
OCTETS = b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n"


@pytest.mark.parametrize(
    "data", [OCTETS, OCTETS + b"ab", OCTETS + b"abcd", OCTETS[:-4], OCTETS[:33], b"", b"x" * 60, OCTETS[:-2] + b"abc"]
)
def test_what_is_not_one_whole_request_is_not_read(data: bytes) -> None:
    known = known_header(OCTETS + b"abc", 3, SCOPE)
    assert isinstance(known, KnownHeader)
    assert known.read(data) is None
    read = known.read(OCTETS + b"abc")
    assert read is not None
    assert (read[0]["headers"], read[1]) == ([(b"content-length", b"3")], b"abc")

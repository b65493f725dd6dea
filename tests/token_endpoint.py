"""A token endpoint on loopback (RFC 6749 section 3.2): issues numbered tokens, or answers as it is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

Reply = tuple[int, Any]
"""A status, and what becomes JSON; bytes are sent as they are."""


class TokenEndpoint:
    """Each request is kept as a form. `replies` are used up first; then `token-1`, `token-2` … are issued, good for
    `lifetime` seconds. While `gate` is not set, nobody is answered."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.replies: list[Reply] = []
        self.lifetime: float | None = 3600
        self.gate = asyncio.Event()
        self.gate.set()
        self.port = 0
        self._came = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    @property
    def token(self) -> str:
        """The one that it has issued last."""
        return f"token-{len(self.forms)}"

    async def asked(self, times: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(30), self._came:
            await self._came.wait_for(lambda: len(self.forms) >= times)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            assert head.startswith("POST /token "), head
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            self.forms.append(dict(parse_qsl((await reader.readexactly(length)).decode())))
            async with self._came:
                self._came.notify_all()
            await self.gate.wait()
            status, told = self.replies.pop(0) if self.replies else (200, self._issued())
            body = told if isinstance(told, bytes) else json.dumps(told).encode()
            writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _issued(self) -> dict[str, Any]:
        told: dict[str, Any] = {"access_token": self.token, "token_type": "Bearer"}
        return told if self.lifetime is None else {**told, "expires_in": self.lifetime}


@asynccontextmanager
async def token_endpoint() -> AsyncIterator[TokenEndpoint]:
    """One that listens while the block runs."""
    endpoint = TokenEndpoint()
    listening = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    endpoint.port = listening.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        endpoint.gate.set()
        listening.close()
        await listening.wait_closed()

"""A web server on loopback, and a resolver that knows the names of the tests."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.outbound.fetch import Fetcher
from app.outbound.guard import Address
from app.settings import Settings

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]

LOOPBACK = "127.0.0.1"


def answer(body: bytes = b"", status: str = "200 OK", length: int | None = None, **header: str) -> bytes:
    """An answer with its length; a header field named with underscores is sent with hyphens."""
    fields = {"Content-Length": str(len(body) if length is None else length), **header}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(status=status, Location=location)


@dataclass
class WebServer:
    """Answers each path as it is told; keeps what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                request_line, *lines = head.split("\r\n")[:-2]
                target = request_line.split(" ")[1]
                self.targets.append(target)
                self.headers.append(
                    {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                )
                given = self.answers.get(target, answer(status="404 Not Found"))
                if isinstance(given, bytes):
                    writer.write(given)
                else:
                    await given(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def silence(self, writer: asyncio.StreamWriter) -> None:
        """Say nothing more until the test is over."""
        await self.stopping.wait()


async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    web = WebServer()
    listening = await asyncio.start_server(web.serve, LOOPBACK, 0, ssl=tls)
    web.port = listening.sockets[0].getsockname()[1]
    yield web
    web.stopping.set()
    listening.close()
    await listening.wait_closed()


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async for web in serving():
        yield web


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
async def secure_web(ca: trustme.CA) -> AsyncIterator[WebServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("files.example").configure_cert(context)
    async for web in serving(context):
        yield web


class Names:
    """A resolver: each look-up of a name takes the next of its answers, and the last one for good."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {"files.example": [[LOOPBACK]], **answers}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        given = self.answers[host]
        return [ip_address(text) for text in (given.pop(0) if len(given) > 1 else given[0])]


def make_fetcher(names: Names | None = None, **changes: Any) -> Fetcher:
    given = {"attachment_hosts": "files.example", "attachment_networks": "127.0.0.0/8"} | changes
    return Fetcher(Settings(**given), names or Names())

"""Clients that send one request after the other on a connection of their own each."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks.load.requests import DIGITS, SEQUENCE, Post
from benchmarks.load.wrk import LoadFailed


async def send_all(url: str, post: Post, numbers: range, clients: int) -> None:
    """The requests of these numbers, by so many clients. Raises LoadFailed if one is refused."""
    waiting = iter(numbers)
    await asyncio.gather(*[_send(url, post.raw().split(SEQUENCE), waiting) for _ in range(clients)])


async def _send(url: str, pieces: list[str], numbers: Iterator[int]) -> None:
    server = urlsplit(url)
    reader, writer = await asyncio.open_connection(server.hostname, server.port)
    for number in numbers:
        writer.write(f"{number:0{DIGITS}d}".join(pieces).encode())
        header = await reader.readuntil(b"\r\n\r\n")
        if not header.startswith(b"HTTP/1.1 2"):
            raise LoadFailed(f"{url}: {header.splitlines()[0].decode()}")
        length = header.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
    writer.close()
    await writer.wait_closed()

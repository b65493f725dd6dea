"""A network between a client and a server in which replies take their time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Far:
    """`port` to connect to, once; `rounds`: how often replies came, all that were under way together being one.
    `ended`: the client has left."""

    def __init__(self, server_port: int, seconds: float) -> None:
        self.port = 0
        self.rounds = 0
        self.ended = asyncio.Event()
        self._server_port = server_port
        self._seconds = seconds

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near = _Near(self, writer)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: near, "127.0.0.1", self._server_port)
        try:
            while octets := await reader.read(65536):
                transport.write(octets)
        except ConnectionError:
            pass
        finally:
            transport.close()
            writer.close()
            self.ended.set()

    def under_way(self, near: "_Near") -> None:
        asyncio.get_running_loop().call_later(self._seconds, near.arrive)


class _Near(asyncio.Protocol):
    """The server's side: gathers what is said until it arrives."""

    def __init__(self, far: Far, writer: asyncio.StreamWriter) -> None:
        self._far = far
        self._writer = writer
        self._said = bytearray()

    def data_received(self, data: bytes) -> None:
        if not self._said:
            self._far.under_way(self)
        self._said += data

    def arrive(self) -> None:
        self._far.rounds += 1
        self._writer.write(bytes(self._said))
        self._said.clear()


@asynccontextmanager
async def far_from(server_port: int, seconds: float = 0.01) -> AsyncIterator[Far]:
    far = Far(server_port, seconds)
    server = await asyncio.start_server(far.connect, "127.0.0.1", 0)
    far.port = server.sockets[0].getsockname()[1]
    try:
        yield far
        await far.ended.wait()
    finally:
        server.close()

"""One TCP connection of the receiver: octets in, up to a terminator; octets out; TLS in between."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from typing import NoReturn, cast

_READ_AHEAD = 256 * 1024
_CRLF = b"\r\n"


class TooLongError(Exception):
    """What came before the terminator was over the limit; it has been skipped."""


class ClosedError(Exception):
    """The peer is gone, or the connection has been closed."""


class Wire(asyncio.Protocol):
    """Reads on demand: while nobody asks for more, at most `_READ_AHEAD` octets are held, then TCP holds the rest.
    `waits`: how often all that came was answered, and more had to be waited for."""

    def __init__(self, connected: "Callable[[Wire], None]", idle_timeout: float, recording: bytearray | None) -> None:
        self._connected = connected
        self._idle_timeout = idle_timeout
        self._recording = recording
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._ended = False
        self._has_spoken = False
        self.waits = 0
        self._arrival: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted now."""
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is not None

    async def line(self, limit: int) -> bytes:
        """The next line without its line feed. Raises TooLongError, ClosedError, TimeoutError (idle for too long)."""
        return await self._until(b"\n", limit)

    async def content(self, limit: int) -> bytes:
        """The octets after DATA up to CRLF.CRLF, last CRLF included, still dot-stuffed (RFC 5321 section 4.5.2).

        Nothing but CRLF.CRLF ends them. Raises as `line` does.
        """
        self._buffer[:0] = _CRLF
        taken = await self._until(b"\r\n.\r\n", len(_CRLF) + limit)
        return taken[len(_CRLF) :] + _CRLF if taken else b""

    async def octets(self, count: int) -> bytes:
        """So many octets, whatever they are. Raises ClosedError, TimeoutError."""
        while len(self._buffer) < count:
            await self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def arrival(self) -> None:
        """Wait until something unread is there. Raises ClosedError, TimeoutError."""
        while not self._buffer:
            await self._more()

    def overlook(self) -> None:
        """Throw away what has come and is unread."""
        self._buffer.clear()

    async def send(self, octets: bytes) -> None:
        """Write, and wait while the peer does not read. Raises ClosedError, TimeoutError."""
        if self._transport is None or self._transport.is_closing():
            raise ClosedError
        self._transport.write(octets)
        self._has_spoken = True
        async with asyncio.timeout(self._idle_timeout):
            await self._writable.wait()

    async def send_endlessly(self, octets: bytes, every: float) -> NoReturn:
        """Write the octets again and again, with `every` seconds in between. Raises as `send` does."""
        while True:
            await self.send(octets)
            await asyncio.sleep(every)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Become the server side of TLS; what was pipelined before it is thrown away (RFC 3207 section 4.2).

        Raises ClosedError when the handshake fails.
        """
        if self._transport is None:
            raise ClosedError
        self._buffer.clear()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._idle_timeout):
                secured = await loop.start_tls(self._transport, self, context, server_side=True)
        except BaseException as error:
            self.abort()
            self.connection_lost(None)  # asyncio does not say so when a handshake ends early
            if isinstance(error, OSError):
                raise ClosedError from error
            raise
        if secured is None:
            raise ClosedError
        self._transport = secured

    async def hang(self) -> None:
        """Read nothing more, and return when the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        await self._lost.wait()

    async def closed(self, limit: float) -> None:
        """Return when the connection is gone. Raises TimeoutError after `limit` seconds."""
        async with asyncio.timeout(limit):
            await self._lost.wait()

    def close(self) -> None:
        """Send what is still to be sent, then FIN."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Throw away what is still to be sent, and send RST."""
        if self._transport is not None:
            connected: socket.socket = self._transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, whatever the peer does."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._recording is not None:
            self._recording += data
        if len(self._buffer) > _READ_AHEAD and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._lost.set()
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _until(self, terminator: bytes, limit: int) -> bytes:
        overlap = len(terminator) - 1
        searched = 0
        skipped = False
        while (end := self._buffer.find(terminator, max(0, searched - overlap))) < 0:
            if len(self._buffer) > limit + overlap:
                del self._buffer[: len(self._buffer) - overlap]
                skipped = True
            searched = len(self._buffer)
            await self._more()
        taken = bytes(self._buffer[:end])
        del self._buffer[: end + len(terminator)]
        if skipped or end > limit:
            raise TooLongError
        return taken

    async def _more(self) -> None:
        if self._ended or self._transport is None:
            raise ClosedError
        self._transport.resume_reading()
        self.waits += self._has_spoken
        self._has_spoken = False
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._idle_timeout):
                await self._arrival
        finally:
            self._arrival = None

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

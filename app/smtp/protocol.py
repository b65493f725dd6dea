"""The octets of one session: commands and content out, replies in, one by one and in order."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from aiosmtplib import SMTPResponse, SMTPResponseException, SMTPServerDisconnected
from aiosmtplib.protocol import MAX_RESPONSE_LENGTH, SMTPProtocol

_NO_REPLY_CODE = -1
_BLANK = 32
_SHORTEST = 4
_CONTROL = bytes(range(0x20)) + b"\x7f"
_CONTINUED = re.compile(rb"[0-9]{3}-")

Known = TypeVar("Known")


class Protocol(SMTPProtocol):
    """aiosmtplib's protocol with its own reading of replies, and with flow control for content.

    aiosmtplib keeps one reply per segment and drops the others, so commands could not be pipelined. Its
    `execute_data_command` rewrites line ends in three copies of the whole content, puts all of it into the
    transport's buffer, and starts the clock for the final reply while most of it is still there: a slow link
    then times out after the server took the mail. These are the same steps, a chunk at a time.
    """

    _awaited = 0
    _arrival: asyncio.Future[None] | None = None
    _ended = False
    _cause: Exception | None = None
    _flooded = False
    _looked_at = 0
    _due: float | None = None
    _clock: asyncio.TimerHandle | None = None

    def is_usable(self) -> bool:
        """Whether another command may be written: the transport is open, and nothing is unread."""
        transport = self.transport
        return transport is not None and not transport.is_closing() and (self._awaited > 0 or not self._buffer)

    def has_unread(self) -> bool:
        """Whether the server sent more replies than there were commands: what comes next cannot be told apart."""
        return bool(self._buffer) and not self._awaited

    def send(self, *lines: bytes) -> None:
        """Write these command lines, without CRLF, at once; each has one reply to be read.

        Raises as `check` does, and SMTPServerDisconnected; nothing is written then.
        """
        self.check(lines)
        self.put_behind(b"\r\n".join(lines) + b"\r\n", len(lines))

    def check(self, lines: Iterable[bytes]) -> None:
        """Whether these command lines may be written. Raises SMTPResponseException for a reply to nothing, ValueError
        for a line that holds control characters."""
        if self.has_unread():
            raise SMTPResponseException(_NO_REPLY_CODE, "a reply to no command")
        octets = b"".join(lines)
        if octets.translate(None, _CONTROL) != octets:
            raise ValueError("a control character in a command")

    def put(self, chunk: bytes, behind: int = 0) -> None:
        """Write content, and what goes `behind` it with so many replies; a reply that comes early is kept. Raises
        SMTPServerDisconnected, nothing written then."""
        self.write(chunk)
        self._awaited = 1 + behind

    def put_behind(self, octets: bytes, replies: int) -> None:
        """Write what has so many replies, behind what has not all of its replies. Raises as `put` does."""
        self.write(octets)
        self._awaited += replies

    async def room(self) -> None:
        """Wait until the transport has room for another chunk. Raises ConnectionError."""
        await self._drain_helper()

    async def execute_command(self, *args: bytes, timeout: float | None = None) -> SMTPResponse:  # noqa: ASYNC109
        """Send one command, return its reply: for EHLO and AUTH, which aiosmtplib speaks."""
        self.send(b" ".join(args))
        return await self.read_response(timeout)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:  # noqa: ASYNC109 - aiosmtplib's
        """The next reply. Raises as `arrival` and `take` do."""
        if not self.has_reply():
            await self.arrival(timeout)
        return self.take()

    def arrival(self, seconds: float | None) -> asyncio.Future[None]:
        """To be awaited where none can be taken yet: done once one can; one clock for all of its pieces. Raises
        SMTPServerDisconnected where nothing more will come, TimeoutError after `seconds`. A future, because each
        coroutine is walked through at each of a mail's waits."""
        self._arrival = arrival = self._loop.create_future()
        if self._is_too_long():
            self._tell()
        elif self._ended:
            self._tell(self._disconnected())
        elif seconds is None:
            self._due = None
        else:
            self._set_clock(seconds)
        return arrival

    def take(self) -> SMTPResponse:
        """The reply that has arrived. Raises SMTPResponseException for what is no reply."""
        response = self._next_reply()
        if response is None:
            raise SMTPResponseException(_NO_REPLY_CODE, "Response too long")
        self._awaited = max(0, self._awaited - 1)
        return response

    def first_line(self) -> bytes:
        """The next reply as it came, where it has arrived and is one line; else nothing."""
        buffer = self._buffer
        if len(buffer) <= _SHORTEST or buffer[_SHORTEST - 1] != _BLANK:
            return b""
        end = buffer.find(b"\n") + 1
        return bytes(buffer[:end]) if end > _SHORTEST else b""

    def take_known(self, known: Mapping[bytes, Known]) -> Known | None:
        """What is known of the next reply, by its `first_line`; it is taken then."""
        buffer = self._buffer
        end = buffer.find(b"\n") + 1
        found = known.get(bytes(buffer[:end]))
        if found is not None:
            del buffer[:end]
            self._awaited = max(0, self._awaited - 1)
        return found

    def arrived(self) -> bytes:
        """All that has arrived and was not taken."""
        return bytes(self._buffer)

    def take_all(self, replies: int) -> None:
        """Take all that has arrived, which is so many replies."""
        self._buffer.clear()
        self._awaited = max(0, self._awaited - replies)

    def has_reply(self) -> bool:
        """Whether a reply can be taken: a line has come that ends one, or is none. Each line is looked at once:
        aiosmtplib parses from the beginning every time, which takes seconds where a long reply comes in little
        pieces."""
        buffer = self._buffer
        while buffer and (end := buffer.find(b"\n", self._looked_at)) >= 0:
            if not _CONTINUED.match(buffer, self._looked_at):
                self._looked_at = 0
                return True
            self._looked_at = end + 1
        return False

    def early_reply(self) -> SMTPResponse | None:
        """Take the reply that came while content was still being sent, if there is one."""
        if not self._buffer and not self._flooded:
            return None
        try:
            response = self._next_reply()
        except SMTPResponseException as error:
            return SMTPResponse(error.code, error.message)
        if response is not None:
            self._awaited = max(0, self._awaited - 1)
        return response

    def data_received(self, data: bytes) -> None:
        """Keep what the server says, up to the size of as many replies as are awaited."""
        if len(self._buffer) + len(data) > MAX_RESPONSE_LENGTH * (self._awaited or 1):
            self._flooded = True
        else:
            self._buffer += data
        if self._arrival is not None and (self.has_reply() or self._is_too_long()):
            self._tell()

    def eof_received(self) -> bool:
        """Nothing more will come; the transport is closed."""
        self._ended = True
        self._tell(self._disconnected())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come, for this cause."""
        super().connection_lost(exc)
        self._ended, self._cause = True, exc
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        self._tell(self._disconnected())

    def _set_clock(self, seconds: float) -> None:
        """One clock for one reply after the other: it goes on from where it was set first, and is set again when it
        strikes too early, which spares nearly all replies a timer of their own."""
        self._due = due = self._loop.time() + seconds
        clock = self._clock
        if clock is None or clock.when() > due:
            if clock is not None:
                clock.cancel()
            self._clock = self._loop.call_at(due, self._strike)

    def _strike(self) -> None:
        self._clock = None
        if self._due is None or self._arrival is None:
            return
        if self._loop.time() < self._due:
            self._clock = self._loop.call_at(self._due, self._strike)
        else:
            self._tell(TimeoutError())

    def _next_reply(self) -> SMTPResponse | None:
        response = self._read_response_from_buffer() if self.has_reply() else None
        if response is None and self._is_too_long():
            raise SMTPResponseException(_NO_REPLY_CODE, "Response too long")
        return response

    def _is_too_long(self) -> bool:
        return self._flooded or len(self._buffer) > MAX_RESPONSE_LENGTH

    def _disconnected(self) -> SMTPServerDisconnected:
        error = SMTPServerDisconnected("Connection lost")
        error.__cause__ = self._cause
        return error

    def _tell(self, error: Exception | None = None) -> None:
        """What is waited for has come, or never will."""
        arrival, self._arrival = self._arrival, None
        if arrival is None or arrival.done():  # who waited was cancelled
            return
        if error is None:
            arrival.set_result(None)
        else:
            arrival.set_exception(error)

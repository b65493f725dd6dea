"""Content that is read while it goes to the server, in chunks."""

from collections.abc import AsyncIterator
from typing import Self

from app.mail.content import Content
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure

CHUNK = 64 * 1024


class LargeChunks:
    """Chunks made one by one; `stuffed`: for DATA, a dot that begins a line is doubled (RFC 5321 section 4.5.2), and
    none ends between CR and LF. Iterating over it, once it has begun, gives all but the last one, which is `last`
    afterwards. Raises SmtpFailure where the content cannot be read: the mail must not be ended then."""

    def __init__(self, content: Content, *, stuffed: bool) -> None:
        self._chunks = _stuffed(content) if stuffed else _plain(content)
        self.last = b""

    async def begin(self) -> Self:
        """Read the first one."""
        self.last = await anext(self._chunks, b"")
        return self

    def take(self, count: int) -> bytes:
        """So many octets off the beginning, while nothing has been iterated over."""
        taken, self.last = self.last[:count], self.last[count:]
        return taken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            yield self.last
            self.last = chunk


def doubled(chunk: bytes, *, begins_line: bool) -> bytes:
    """The chunk with every dot doubled that begins a line."""
    stuffed = chunk.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if begins_line and stuffed.startswith(b".") else stuffed


async def _plain(content: Content) -> AsyncIterator[bytes]:
    async for piece in _read(content):
        for start in range(0, len(piece), CHUNK):
            yield piece[start : start + CHUNK]


async def _stuffed(content: Content) -> AsyncIterator[bytes]:
    begins_line, held = True, b""
    async for piece in _plain(content):
        chunk = held + piece
        held = b"\r" if chunk.endswith(b"\r") else b""
        if chunk := chunk.removesuffix(held):
            yield doubled(chunk, begins_line=begins_line)
            begins_line = chunk.endswith(b"\n")
    if held:
        yield held


async def _read(content: Content) -> AsyncIterator[bytes]:
    pieces = aiter(content.pieces())
    while True:
        try:
            piece = await anext(pieces, None)
        except Exception as error:
            raise SmtpFailure(_UNREADABLE) from error
        if piece is None:
            return
        yield piece


_UNREADABLE = Failure(Phase.CONTENT, Cause.INTERNAL, "The mail could not be read from the database.")

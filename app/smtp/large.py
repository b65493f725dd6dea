"""Content that is read while it goes to the server, in chunks."""

from collections.abc import AsyncIterator

from app.mail.content import Content
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure

CHUNK = 64 * 1024


class LargeChunks:
    """Chunks made one by one; `stuffed`: for DATA, a dot that begins a line is doubled (RFC 5321 section 4.5.2), and
    none ends between CR and LF. Iterating over it gives all but the last one, which is `last` afterwards. Raises
    SmtpFailure where the content cannot be read: the mail must not be ended then."""

    def __init__(self, content: Content, *, stuffed: bool = True) -> None:
        self._content = content
        self._stuffed = stuffed
        self.last = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        begins_line, held = True, b""
        async for piece in _read(self._content):
            for start in range(0, len(piece), CHUNK):
                chunk = held + piece[start : start + CHUNK]
                held = b"\r" if self._stuffed and chunk.endswith(b"\r") else b""
                chunk = chunk.removesuffix(held)
                if not chunk:
                    continue
                if self.last:
                    yield self.last
                self.last = _stuffed(chunk, begins_line=begins_line) if self._stuffed else chunk
                begins_line = chunk.endswith(b"\n")
        self.last += held


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


def _stuffed(chunk: bytes, *, begins_line: bool) -> bytes:
    stuffed = chunk.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if begins_line and stuffed.startswith(b".") else stuffed

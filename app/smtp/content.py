"""The octets of a mail as they go to a server: looked through once, and handed out chunk by chunk."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Self, cast

from msgspec import Struct

from app.mail.content import Content as StoredContent
from app.smtp.large import CHUNK, LargeChunks, doubled


class Content(Struct, eq=False):
    """`octets`: all of them, or where they are read from. `is_well_formed`: every line ends in CRLF."""

    octets: bytes | StoredContent
    is_well_formed: bool

    def size(self) -> int:
        """How many octets it has, as SIZE counts them (RFC 1870)."""
        return len(self.octets)

    def is_ascii(self) -> bool:
        """Whether it needs no 8BITMIME."""
        return self.octets.isascii()

    def is_small(self) -> bool:
        """Whether it is one chunk."""
        return isinstance(self.octets, bytes) and len(self.octets) <= CHUNK

    def chunks(self) -> "Chunks | LargeChunks":
        """The octets as they are, for BDAT (RFC 3030)."""
        octets = self.octets
        if not isinstance(octets, bytes):
            return LargeChunks(octets, stuffed=False)
        if len(octets) <= CHUNK:
            return Chunks(iter((octets,)))
        return Chunks(octets[start:end] for start, end in _cuts(octets))

    def stuffed(self) -> "Chunks | LargeChunks":
        """The octets for DATA, without the final dot: a dot that begins a line is doubled (RFC 5321 section 4.5.2)."""
        octets = self.octets
        if not isinstance(octets, bytes):
            return LargeChunks(octets, stuffed=True)
        return Chunks(_stuffed(octets, start, end) for start, end in _cuts(octets))

    def stuffed_whole(self) -> bytes | None:
        """The same, where it is one chunk; None where it is more."""
        octets = self.octets
        if isinstance(octets, bytes) and len(octets) <= CHUNK:
            return doubled(octets, begins_line=True)
        return None


class Chunks:
    """Chunks made one by one. Iterating over it gives all but the last one, which is `last` afterwards."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.last = next(chunks, b"")

    async def begin(self) -> Self:
        """As LargeChunks has it."""
        return self

    def take(self, count: int) -> bytes:
        """So many octets off the beginning, while nothing has been iterated over."""
        taken, self.last = self.last[:count], self.last[count:]
        return taken

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield self.last
            self.last = chunk


async def each(chunks: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Both kinds, one by one."""
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
    else:
        for chunk in chunks:
            yield chunk


async def look_through(octets: bytes | StoredContent) -> Content:
    """The content that these octets are; those of several chunks are looked through in a thread."""
    return look_at(octets) or Content(octets, await asyncio.to_thread(_has_crlf_only, cast(bytes, octets)))


def look_at(octets: bytes | StoredContent) -> Content | None:
    """The same, None for those of several chunks. What is stored in slices is well formed."""
    if not isinstance(octets, bytes):
        return Content(octets, True)
    return Content(octets, _has_crlf_only(octets)) if len(octets) <= CHUNK else None


def _has_crlf_only(octets: bytes) -> bool:
    if len(octets) <= CHUNK:  # as below, in a third of the time: each CR followed by one LF, and no other LF
        return octets.endswith(b"\r\n") and octets.replace(b"\n", b"").replace(b"\r", b"\r\n") == octets
    return octets.endswith(b"\r\n") and all(
        octets.count(b"\r\n", *cut) == octets.count(b"\n", *cut) == octets.count(b"\r", *cut) for cut in _cuts(octets)
    )


def _cuts(octets: bytes) -> Iterator[tuple[int, int]]:
    """Where each chunk begins and ends; none ends between CR and LF."""
    start = 0
    while start < len(octets):
        end = min(start + CHUNK, len(octets))
        end += octets[end - 1 : end + 1] == b"\r\n"
        yield start, end
        start = end


def _stuffed(octets: bytes, start: int, end: int) -> bytes:
    return doubled(octets[start:end], begins_line=not start or octets[start - 1 : start] == b"\n")

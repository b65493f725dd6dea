"""The octets of a mail as they go to a server: looked through once, and handed out chunk by chunk."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

CHUNK = 64 * 1024


@dataclass(slots=True, eq=False)
class Content:
    """`is_well_formed`: every line ends in CRLF."""

    octets: bytes
    is_well_formed: bool

    @property
    def size(self) -> int:
        """How many octets it has, as SIZE counts them (RFC 1870)."""
        return len(self.octets)

    @property
    def is_ascii(self) -> bool:
        """Whether it needs no 8BITMIME."""
        return self.octets.isascii()

    @property
    def is_small(self) -> bool:
        """Whether it is one chunk."""
        return len(self.octets) <= CHUNK

    def chunks(self) -> "Chunks":
        """The octets as they are, for BDAT (RFC 3030)."""
        if self.is_small:
            return Chunks(iter((self.octets,)))
        return Chunks(self.octets[start:end] for start, end in _cuts(self.octets))

    def stuffed(self) -> "Chunks":
        """The octets for DATA, without the final dot: a dot that begins a line is doubled (RFC 5321 section 4.5.2)."""
        if self.is_small:
            return Chunks(iter((_stuffed(self.octets, 0, len(self.octets)),)))
        return Chunks(_stuffed(self.octets, start, end) for start, end in _cuts(self.octets))


class Chunks:
    """Chunks made one by one. Iterating over it gives all but the last one, which is `last` afterwards."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.last = next(chunks, b"")

    def take(self, count: int) -> bytes:
        """So many octets off the beginning, while nothing has been iterated over."""
        taken, self.last = self.last[:count], self.last[count:]
        return taken

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield self.last
            self.last = chunk


async def look_through(octets: bytes) -> Content:
    """The content that these octets are; those of several chunks are looked through in a thread."""
    if len(octets) <= CHUNK:
        return Content(octets, _has_crlf_only(octets))
    return Content(octets, await asyncio.to_thread(_has_crlf_only, octets))


def _has_crlf_only(octets: bytes) -> bool:
    if len(octets) <= CHUNK:
        return octets.endswith(b"\r\n") and octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r")
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
    stuffed = octets[start:end].replace(b"\r\n.", b"\r\n..")
    begins_line = not start or octets[start - 1 : start] == b"\n"
    return b"." + stuffed if begins_line and stuffed.startswith(b".") else stuffed

"""The final octets of a mail, where there are too many of them to be kept in memory."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol, cast

from msgspec import Struct

from app.mail.mime import Entity
from app.mail.octets import pieces_of


class Composed(Struct, frozen=True):
    """A mail laid out: what is not in a file of its own stands here, the rest is made when it is read. Reading it again
    gives the same octets."""

    parts: Entity

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def whole(self) -> bytes:
        """All of it, in memory."""
        try:
            return b"".join(cast("tuple[bytes, ...]", self.parts))
        except TypeError:  # a file is among them
            return b"".join([part if isinstance(part, bytes) else b"".join(part.pieces()) for part in self.parts])

    def pieces(self) -> Iterator[bytes]:
        """All of it, in its order."""
        for part in self.parts:
            yield from pieces_of(part)


class Content(Protocol):
    """A mail in its final form (CRLF line ends, 7-bit but for what its header section may hold) that is read from where
    it is stored. It has a length, and tells whether it is ASCII, as bytes do."""

    @property
    def head(self) -> bytes:
        """The header section, and the empty line behind it."""
        ...

    def __len__(self) -> int: ...

    def isascii(self) -> bool:
        """Whether no octet is beyond ASCII."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """All of it, in its order. Raises what reading it raises, before less than all of it could be taken for all."""
        ...


@dataclass(frozen=True, slots=True)
class Topped:
    """Content with header fields on top."""

    top: bytes
    below: Content

    @property
    def head(self) -> bytes:
        """The header section, and the empty line behind it."""
        return self.top + self.below.head

    def __len__(self) -> int:
        return len(self.top) + len(self.below)

    def isascii(self) -> bool:
        """Whether no octet is beyond ASCII."""
        return self.top.isascii() and self.below.isascii()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it, in its order."""
        yield self.top
        async for piece in self.below.pieces():
            yield piece

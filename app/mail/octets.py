"""What is too long to be kept in memory: read piece by piece, and from the beginning as often as it is needed."""

import codecs
from collections.abc import Iterable, Iterator
from typing import Protocol, Self


class Octets(Protocol):
    """Octets that may be in a file."""

    def __len__(self) -> int: ...

    def pieces(self) -> Iterator[bytes]:
        """All of them, in their order."""
        ...


class LongText(str):
    """A text that is somewhere else, as UTF-8. Who does not know of that finds a str that may stand nowhere."""

    source: Octets

    @classmethod
    def of(cls, source: Octets) -> Self:
        """The text that these octets are."""
        text = cls("\x00")
        text.source = source
        return text

    def pieces(self) -> Iterator[str]:
        """All of it, in its order."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        for piece in self.source.pieces():
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)

    def whole(self) -> str:
        """The text, in memory."""
        return b"".join(self.source.pieces()).decode()


def size_of(text: str) -> int:
    """How long the text is, wherever it is: in characters, or in octets."""
    return len(text.source) if isinstance(text, LongText) else len(text)


def in_memory(value: object) -> object:
    """A value of JSON, changed in place: in it no long text, where one stands, but what it says."""
    outermost = [value]
    pending: list[object] = [outermost]
    while pending:
        container = pending.pop()
        if isinstance(container, dict | list):
            for place, inner in list(container.items() if isinstance(container, dict) else enumerate(container)):
                if isinstance(inner, LongText):
                    container[place] = inner.whole()
                else:
                    pending.append(inner)
    return outermost[0]


def pieces_of(octets: bytes | Octets) -> Iterator[bytes]:
    """The octets piece by piece, wherever they are."""
    if isinstance(octets, bytes):
        yield octets
    else:
        yield from octets.pieces()


def in_slices(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same octets in slices of `size`, but for the last one. It holds no more than one of each."""
    held = bytearray()
    for piece in pieces:
        view, start = memoryview(piece), 0
        while start < len(piece):
            end = start + size - len(held)
            held += view[start:end]
            start = end
            if len(held) == size:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)

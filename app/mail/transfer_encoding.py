"""Base64 as it comes in: RFC 4648, strict but for white space (RFC 2045 section 6.8)."""

import base64
import binascii
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.mail.octets import LongText, Octets

# Decoding holds the interpreter's lock, which is free between two slices: a large file keeps nobody waiting.
_SLICE = 256 * 1024
_GROUP, _GROUP_OCTETS = 4, 3
_ALPHABET = string.ascii_letters.encode() + string.digits.encode() + b"+/"
_LONGEST_END = 2 * _GROUP


@dataclass(frozen=True, slots=True)
class Encoded:
    """The octets, so many of them, of a long text that is base64."""

    text: LongText
    size: int

    def __len__(self) -> int:
        return self.size

    def pieces(self) -> Iterator[bytes]:
        """The octets."""
        return _decoded(self.text.pieces())

    def base64(self) -> Iterator[bytes]:
        """The text as encoding the octets would give it: without white space, and with nothing in the bits that padding
        leaves over. It is known to be base64, so nothing but its end is decoded."""
        held = ""
        for groups in _groups(self.text.pieces()):
            yield held.encode()
            held = groups
        yield base64.b64encode(base64.b64decode(held))


def read_base64(text: str) -> bytes | Octets | None:
    """As `decode_base64`, but for a long text: the octets of that stay where they are."""
    if not isinstance(text, LongText):
        return decode_base64(text)
    try:
        return Encoded(text, _size(text.pieces()))
    except ValueError:
        return None


def decode_base64(text: str) -> bytes | None:
    """The octets, or None when the text is not base64. White space between the characters is allowed."""
    try:
        return b"".join(_decoded(text[start : start + _SLICE] for start in range(0, len(text), _SLICE)))
    except ValueError:
        return None


def _size(pieces: Iterable[str]) -> int:
    """How many octets they are. Raises ValueError where they are not base64; that takes less than decoding them."""
    size, held = 0, ""
    for groups in _groups(pieces):
        if held.encode("ascii").translate(None, _ALPHABET):
            raise binascii.Error("not base64")
        size += len(held) // _GROUP * _GROUP_OCTETS
        held = groups
    return size + len(base64.b64decode(held, validate=True))


def _decoded(pieces: Iterable[str]) -> Iterator[bytes]:
    """Raises ValueError where they are not base64."""
    return (base64.b64decode(groups, validate=True) for groups in _groups(pieces))


def _groups(pieces: Iterable[str]) -> Iterator[str]:
    """Whole groups of four, of what is no white space. What is padded, and the group before it, comes last: only there
    padding is right."""
    kept = ""
    for piece in pieces:
        kept += "".join(piece.split())
        end = kept.find("=")
        whole = max((end if end >= 0 else len(kept)) - 1, 0) // _GROUP * _GROUP
        yield kept[:whole]
        kept = kept[whole:]
        if end >= 0 and len(kept) > _LONGEST_END:
            raise binascii.Error("padding is not at the end")
    yield kept

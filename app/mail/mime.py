"""MIME entities as octets: text, file, multipart (RFC 2045, RFC 2046)."""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from app.mail.header import structured_field
from app.mail.octets import Octets, in_slices, pieces_of
from app.mail.transfer_encoding import Encoded

_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
_LINE = 78
# Whole lines of base64, so that slices can be joined. The interpreter's lock is free between two of them, and while
# they are joined, which it is not where two long octet strings are added: a large file keeps nobody waiting.
_LINE_OCTETS, _LINE_CHARS, _SLICE_LINES = 57, 76, 4096
_SLICE = _LINE_OCTETS * _SLICE_LINES
_LINES = Struct(f"{_LINE_CHARS}s" * _SLICE_LINES)
# No octets in quoted-printable or base64 can hold "=_" (RFC 2045 section 6.7), so no part can hold a boundary.
_BOUNDARY_START = "=_"
_PLAIN_LINES = re.compile(rb"(?:[\t -~]{0,%d}+\r\n)*+" % _LINE)
_SHORT_LINES = re.compile(rb"(?:.{0,%d}+\n)*+" % (_LINE + 1))
"""Told several times as fast, and most texts have a longer one."""


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """The body of a file's entity, made whenever it is read."""

    octets: bytes | Octets

    def __len__(self) -> int:
        lines, rest = divmod(len(self.octets), _LINE_OCTETS)
        return lines * (_LINE_CHARS + 2) + (-(-rest // 3) * 4 + 2 if rest else 0)

    def pieces(self) -> Iterator[bytes]:
        """Lines of base64."""
        if isinstance(self.octets, Encoded):
            return _lines(self.octets.base64())
        slices = in_slices(pieces_of(self.octets), _SLICE)
        return (_cut_in_lines(b2a_base64(part, newline=False)) for part in slices)


Entity = tuple[bytes | EncodedFile, ...]
"""The octets of an entity, those of files not made yet."""


def text_entity(text: str, subtype: str) -> Entity:
    """A text/`subtype` entity in UTF-8, 7-bit. Every line break becomes CRLF, and the last line gets one too."""
    octets = text.encode()
    lines = _LINE_BREAK.sub(b"\r\n", octets) if "\r" in text else octets.replace(b"\n", b"\r\n")
    if lines and not lines.endswith(b"\n"):
        lines += b"\r\n"
    encoding, body = _encode_text(lines)
    return _text_head(subtype, encoding), body


@lru_cache(maxsize=16)
def _text_head(subtype: str, encoding: str) -> bytes:
    header = structured_field("Content-Type", f"text/{subtype}", {"charset": "utf-8"})
    return _head(header + structured_field("Content-Transfer-Encoding", encoding))


def _encode_text(lines: bytes) -> tuple[str, bytes]:
    if _SHORT_LINES.fullmatch(lines) and _PLAIN_LINES.fullmatch(lines) and _BOUNDARY_START.encode() not in lines:
        return "7bit", lines
    quoted = b2a_qp(lines)
    size = -(-len(lines) // 3) * 4 + -(-len(lines) // 57) * 2  # of its base64, line ends included
    return ("quoted-printable", quoted) if len(quoted) <= size else ("base64", _base64(lines))


def file_entity(
    content: bytes | Octets, content_type: str, *, name: str, disposition: str, content_id: str | None = None
) -> Entity:
    """A file's octets in base64, whatever its type, so that they arrive as they are.

    `disposition` is "attachment" or "inline" (RFC 2183); `content_id` comes without angle brackets.
    """
    header = structured_field("Content-Type", content_type)
    header += structured_field("Content-Transfer-Encoding", "base64")
    header += structured_field("Content-Disposition", disposition, {"filename": name})
    if content_id:
        header += structured_field("Content-ID", f"<{content_id}>")
    return _head(header), EncodedFile(content)


def multipart_entity(subtype: str, entities: Sequence[Entity], *, mark: str, root_type: str | None = None) -> Entity:
    """A multipart/`subtype` of finished entities. `mark` (30 letters and digits at most) tells this mail's
    boundaries from those of any other; `root_type` is the type of a multipart/related's first entity (RFC 2387)."""
    boundary = f"{_BOUNDARY_START}{mark}_{subtype}".encode()
    before, behind = _around_boundary(subtype, len(boundary), root_type)
    opening = b"--" + boundary
    delimiter = opening + b"\r\n"
    parts: list[bytes | EncodedFile] = [before, boundary, behind]
    for entity in entities:
        parts += (delimiter, *entity, b"\r\n")
    parts += (opening, b"--\r\n")
    return tuple(parts)


@lru_cache(maxsize=16)
def _around_boundary(subtype: str, size: int, root_type: str | None) -> tuple[bytes, bytes]:
    """What the head of a multipart entity has before and behind a boundary of this size."""
    anyone = "x" * size
    parameters = {"boundary": anyone} | ({"type": root_type} if root_type else {})
    head = _head(structured_field("Content-Type", f"multipart/{subtype}", parameters))
    before, _, behind = head.partition(anyone.encode())
    return before, behind


def _head(header: str) -> bytes:
    """The header section of an entity, and the empty line behind it."""
    return f"{header}\r\n".encode("ascii")


def _lines(base64: Iterable[bytes]) -> Iterator[bytes]:
    """The characters in lines of 76, each with its CRLF."""
    return map(_cut_in_lines, in_slices(base64, _LINES.size))


def _cut_in_lines(part: bytes) -> bytes:
    if len(part) == _LINES.size:
        return b"\r\n".join((*_LINES.unpack(part), b""))
    return b"".join([part[start : start + _LINE_CHARS] + b"\r\n" for start in range(0, len(part), _LINE_CHARS)])


def _base64(octets: bytes) -> bytes:
    return b"".join(EncodedFile(octets).pieces())

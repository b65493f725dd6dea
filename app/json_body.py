"""A JSON body: one that is small and came at once as it is; a large one is looked through as it arrives, its long
strings kept in files.

What arrives goes on into a document, which is JSON as well and small: a mark stands in it for each long string. Who
sends the body cannot know the marks, which are new for each one.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from msgspec import Struct
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.errors import TooLarge
from app.json_text import parse_json
from app.mail.octets import LongText
from app.spool import Spool, SpooledOctets, Spooling

_PIECE = 64 * 1024
_QUOTE, _BACKSLASH = b'"', b"\\"

_WHOLE_STRINGS = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)

# A fragment of a string can be decoded by itself where it is cut in no escape, in no surrogate pair of two escapes, and
# in no character.
_WHOLE_ESCAPES = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89abAB]).{4}|\\u.{4}(?=[^\\]|\\.{5}))*+",
    re.DOTALL,
)
_CUT_CHARACTER = re.compile(rb"(?:[\xc0-\xff]|[\xe0-\xff][\x80-\xbf]|[\xf0-\xff][\x80-\xbf]{2})\Z")

_FILES = frozenset({"attachments", "attachment"})
_CONTENT = "content"


class WholeBody(Struct, eq=False):
    """A small body, which came at once: its octets are the `document`. As JsonBody is, once that has read."""

    document: bytes

    def __repr__(self) -> str:
        return f"WholeBody({self.size} octets)"

    @property
    def size(self) -> int:
        """How many octets."""
        return len(self.document)

    def parse(self, max_values: int, *, files_anywhere: bool = False) -> Any:
        """The value that the body is. Raises as `parse_json` does."""
        return parse_json(self.document, max_values)


def whole_body(message: Message, most: int) -> WholeBody | None:
    """The body, if this first message that was received is all of it, and no larger than so many octets."""
    if message["type"] != "http.request" or message.get("more_body", False):
        return None
    octets: bytes = message.get("body", b"")
    return WholeBody(octets) if len(octets) <= most else None


class JsonBody:
    """Takes the body as it arrives. Nothing is looked for in one that `is_json` does not take for JSON."""

    def __init__(self, spooling: Spooling, is_json: Callable[[bytearray], bool] = lambda body: True) -> None:
        self._spooling = spooling
        self._is_json = is_json
        self._scanner: _Scanner | None = None
        self._is_judged = False
        self._body = bytearray()
        self.size = 0

    async def read(self, first: Message, receive: Receive, limit: int) -> None:
        """All of the body, up to `limit` octets, of which the `first` message was received already; others get their
        turn between the pieces of what is large. Raises TooLarge, ClientDisconnect, and as `feed` does."""
        message, is_more = first, True
        while is_more:
            if message["type"] != "http.request":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            is_more = message.get("more_body", False)
            size = self.size + len(chunk)
            if size > limit:
                raise TooLarge(f"The request body is larger than {limit} bytes.")
            if size <= self._spooling.over:
                self.size = size
                self._body += chunk
            else:
                for number, piece in enumerate(self._pieces(chunk)):
                    if number:
                        await asyncio.sleep(0)
                    self._put(piece)
            if is_more:
                message = await receive()

    def feed(self, chunk: bytes) -> None:
        """The next octets. Raises Unavailable where there is no room for them."""
        for piece in self._pieces(chunk):
            self._put(piece)

    def _pieces(self, chunk: bytes) -> Iterator[bytes]:
        self.size += len(chunk)
        if self.size > self._spooling.over and not self._is_judged:
            self._is_judged = True
            self._body += chunk
            if not self._is_json(self._body):
                return
            self._scanner = _Scanner(self._spooling)
            chunk = bytes(self._body)
            self._body.clear()
        for start in range(0, len(chunk), _PIECE):
            yield chunk[start : start + _PIECE]

    def _put(self, piece: bytes) -> None:
        if self._scanner is None:
            self._body += piece
        else:
            self._scanner.feed(piece)

    @property
    def document(self) -> bytearray:
        """The body, a mark in the place of each long string."""
        return self._body if self._scanner is None else self._scanner.document

    def parse(self, max_values: int, *, files_anywhere: bool = False) -> Any:
        """The value that the body is. Long strings in it are LongText where they are the `content` of `attachments`,
        at the top or, where files may be anywhere, anywhere; else what they are. Raises as `parse_json` does."""
        if self._scanner is None:
            return parse_json(self._body, max_values)
        return self._scanner.parse(max_values, files_anywhere=files_anywhere)


class _Scanner:
    """Knows of the document whether it ends in a string, where that began, and whether in the middle of an escape."""

    def __init__(self, spooling: Spooling) -> None:
        self._spooling = spooling
        self._token = secrets.token_hex(16)
        self._texts: dict[str, bytes | SpooledOctets] = {}
        self._long: _LongString | None = None
        self._is_open = False
        self._is_escaped = False
        self._began = 0
        self.document = bytearray()

    def feed(self, piece: bytes) -> None:
        """The next octets, any."""
        end = self._continue(piece) if self._is_open else 0
        if end < len(piece):
            self._go_on(piece, end)

    def _go_on(self, piece: bytes, start: int) -> None:
        """From outside of any string."""
        found = _WHOLE_STRINGS.match(piece, start)
        assert found is not None, "it matches nothing as well"
        end = found.end()
        self._is_open = end < len(piece)
        self._began = len(self.document) + end - start
        self.document += piece[start:]
        if self._is_open:
            inside = _IN_STRING.match(piece, end + 1)
            self._is_escaped = inside is not None and inside.end() < len(piece)
            self._look_at_length()

    def _continue(self, piece: bytes) -> int:
        """From inside of a string; returns where it is left, or the end."""
        end = self._end_of_string(piece)
        fragment = piece if end is None else piece[:end]
        if self._long is not None:
            self._long.add(fragment)
        else:
            self.document += fragment
        if end is None:
            self._look_at_length()
            return len(piece)
        self._is_open = False
        self.document += _QUOTE if self._long is None else self._mark(self._long)
        self._long = None
        return end + 1

    def _end_of_string(self, piece: bytes) -> int | None:
        """Where the quote is that ends it."""
        start = int(self._is_escaped)
        quote = piece.find(_QUOTE, start)
        if piece.find(_BACKSLASH, start, quote if quote >= 0 else len(piece)) < 0:
            self._is_escaped = False
            return quote if quote >= 0 else None
        found = _IN_STRING.match(piece, start)
        assert found is not None, "it matches nothing as well"
        end = found.end()
        is_closed = piece[end : end + 1] == _QUOTE
        self._is_escaped = end < len(piece) and not is_closed
        return end if is_closed else None

    def _look_at_length(self) -> None:
        if self._long is None and len(self.document) - self._began > self._spooling.string_over:
            self._long = _LongString(self._spooling)
            self._long.add(bytes(self.document[self._began + 1 :]))
            del self.document[self._began :]

    def _mark(self, long: "_LongString") -> bytes:
        """What stands for the string, in quotes; for one that is no JSON, one that is none for the same reason."""
        octets = long.finish()
        if long.flaw:
            return long.flaw
        mark = f"{self._token}{len(self._texts)}"
        self._texts[mark] = octets
        return orjson.dumps(mark)

    def parse(self, max_values: int, *, files_anywhere: bool) -> Any:
        """See JsonBody."""
        if self._long is not None:
            self.document += _QUOTE  # it has no end, and is no JSON
        value = parse_json(self.document, max_values)
        return _restored(value, self._texts, files_anywhere=files_anywhere) if self._texts else value


class _LongString:
    """A string, decoded as its fragments come. `flaw`: once it is known to be no JSON, a short one that is none."""

    def __init__(self, spooling: Spooling) -> None:
        self._spool = Spool(0, spooling.folder)
        self._rest = b""
        self.flaw = b""

    def add(self, fragment: bytes) -> None:
        """What comes next between its quotes."""
        octets = self._rest + fragment if self._rest else fragment
        end = _end_of_whole(octets)
        self._rest = octets[end:]
        self._decode(octets[:end] if self._rest else octets)

    def finish(self) -> bytes | SpooledOctets:
        """The text, in UTF-8."""
        self._decode(self._rest)
        return self._spool.finish()

    def _decode(self, fragment: bytes) -> None:
        if self.flaw:
            return
        try:
            text: str = orjson.loads(b'"%b"' % fragment)
        except orjson.JSONDecodeError:
            self.flaw = b'"\x00"' if _is_utf8(fragment) else b'"\xff"'
        else:
            self._spool.write(text.encode())


def _end_of_whole(octets: bytes) -> int:
    """Where the string may be cut, at or shortly before the end of these octets."""
    end = len(octets)
    if _BACKSLASH in octets:
        found = _WHOLE_ESCAPES.match(octets)
        assert found is not None, "it matches nothing as well"
        end = found.end()
    cut = _CUT_CHARACTER.search(octets, max(end - 3, 0), end)
    return cut.start() if cut else end


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _restored(value: Any, texts: dict[str, bytes | SpooledOctets], *, files_anywhere: bool) -> Any:
    """The value, its marks replaced. Not recursive: it may nest deeper than calls can."""
    outermost: list[Any] = [value]
    pending: list[tuple[dict[str, Any] | list[Any], bool, int]] = [(outermost, False, 0)]
    while pending:
        container, is_files, depth = pending.pop()
        if isinstance(container, dict) and not texts.keys().isdisjoint(container):
            _restore_names(container, texts)
        for place, inner in _places(container):
            if isinstance(inner, dict | list):
                begins = place in _FILES and (files_anywhere or depth == 1)
                pending.append((inner, is_files if isinstance(container, list) else begins, depth + 1))
            elif isinstance(inner, str) and inner in texts:
                container[place] = _text(texts[inner], stays=is_files and place == _CONTENT)
    return outermost[0]


def _restore_names(fields: dict[str, Any], texts: dict[str, bytes | SpooledOctets]) -> None:
    named = [(_text(texts[name]) if name in texts else name, value) for name, value in fields.items()]
    fields.clear()
    fields.update(named)


def _places(container: dict[str, Any] | list[Any]) -> list[tuple[Any, Any]]:
    return list(container.items() if isinstance(container, dict) else enumerate(container))


def _text(octets: bytes | SpooledOctets, *, stays: bool = False) -> str:
    if isinstance(octets, bytes):
        return octets.decode()
    text = LongText.of(octets)
    return text if stays else text.whole()

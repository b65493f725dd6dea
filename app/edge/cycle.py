"""How an answer goes out: for what nearly all are, its header section in one piece, and with its body.

uvicorn looks at each name and each value by itself, and writes twice. What an answer may hold is the same here; every
other one goes uvicorn's way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from app.answer import WHOLE, Field, Names

_OWN_WAY = frozenset({b"connection", b"transfer-encoding"})
_NOT_IN_VALUES = bytes(octet for octet in range(256) if HEADER_VALUE_RE.match(bytes([octet])))


@dataclass(frozen=True, slots=True)
class _Shape:
    """Header sections with the same names in the same order: what stands before, between and behind their values, which
    are left out, and which one of them is the length of the body."""

    parts: list[bytes]
    length_at: int


@lru_cache(maxsize=256)
def _shape_of(names: Names) -> _Shape | None:
    """None: one of them is malformed, or says how the answer is sent, or none is its length."""
    if names.count(b"content-length") != 1 or not _are_plain(names):
        return None
    parts = [part for name in names for part in (b"\r\n" + name + b": ", b"")]
    parts[0] = parts[0].removeprefix(b"\r\n")
    return _Shape([*parts, b"\r\n\r\n"], names.index(b"content-length"))


@lru_cache(maxsize=16)
def _text_of(fields: tuple[Field, ...]) -> bytes | None:
    """Those that every answer of a second has, as they go out; None: one of them is for none of our sections."""
    if any(name == b"content-length" or HEADER_VALUE_RE.search(value) for name, value in fields):
        return None
    return b"".join([b"%b: %b\r\n" % field for field in fields]) if _are_plain([name for name, _ in fields]) else None


def _are_plain(names: Sequence[bytes]) -> bool:
    is_sound = not any(HEADER_RE.search(name) or name != name.lower() for name in names)
    return is_sound and _OWN_WAY.isdisjoint(names)


class OnePieceCycle(RequestResponseCycle):
    """Keeps the header section until the first piece of the body is there, as ASGI has it; takes both as one message,
    too (see WHOLE)."""

    _kept = b""

    async def send(self, message: Any) -> None:
        kind = message["type"]
        if kind == WHOLE:
            header, body = message["header"], message["body"]
            section = self._section(message["status"], header.names, header.values)
            if section is not None and len(body) == self.expected_content_length:
                self._finish(section + body)
                return
            if section is None:
                await super().send({"type": "http.response.start", "status": message["status"], "headers": [*header]})
            else:
                self._kept = section
            message = {"type": "http.response.body", "body": body}
        elif kind == "http.response.start":
            fields = [*message.get("headers", ())]
            section = self._section(message["status"], *(zip(*fields, strict=True) if fields else ((), ())))
            if section is not None:
                self._kept = section
                return
        if self._kept and message["type"] == "http.response.body" and not self.disconnected:
            kept, self._kept = self._kept, b""
            body = message.get("body", b"")
            if not message.get("more_body", False) and len(body) == self.expected_content_length:
                self._finish(kept + body)
                return
            self.transport.write(kept)
        await super().send(message)

    def _section(self, status: int, names: Names, values: Sequence[bytes]) -> bytes | None:
        """The header section as it is to go out, with which the response has started; None: it goes uvicorn's way."""
        if self.response_started or self.disconnected or not self.keep_alive:
            return None
        if self.flow.write_paused or self.scope["method"] == "HEAD":
            return None
        shape, default, text = _shape_of(names), _text_of(tuple(self.default_headers)), b"".join(values)
        if shape is None or default is None or len(text.translate(None, _NOT_IN_VALUES)) < len(text):
            return None
        self.response_started = True
        self.waiting_for_100_continue = False
        self.expected_content_length = int(values[shape.length_at].decode())
        self.chunked_encoding = False
        parts = shape.parts.copy()
        parts[1::2] = values
        return STATUS_LINE[status] + default + b"".join(parts)  # filling a text takes twice as long

    def _finish(self, whole: bytes) -> None:
        self.transport.write(whole)
        self.expected_content_length = 0
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

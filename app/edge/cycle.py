"""How an answer goes out: for what nearly all are, its header section in one piece, and with its body.

uvicorn looks at each name and each value by itself, and writes twice. What an answer may hold is the same here; every
other one goes uvicorn's way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent

_OWN_WAY = frozenset({b"connection", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class _Shape:
    """Header sections with the same names in the same order: the text around their values, and which one of them is the
    length of the body."""

    text: bytes
    length_at: int


@lru_cache(maxsize=256)
def _shape_of(names: tuple[bytes, ...]) -> _Shape | None:
    """None: one of them is malformed, or says how the answer is sent, or none is its length."""
    if names.count(b"content-length") != 1 or not _OWN_WAY.isdisjoint(names):
        return None
    if any(HEADER_RE.search(name) or name != name.lower() for name in names):
        return None
    text = b"".join(name.replace(b"%", b"%%") + b": %b\r\n" for name in names)
    return _Shape(text + b"\r\n", names.index(b"content-length"))


class OnePieceCycle(RequestResponseCycle):
    """Keeps the header section until the first piece of the body is there, as ASGI has it. `whole`: the body of the
    request, where that is there from the beginning, and has not been received yet."""

    whole: bytes | None = None
    _kept = b""

    async def receive(self) -> "ASGIReceiveEvent":
        whole, self.whole = self.whole, None
        if whole is None or self.disconnected or self.response_complete:
            return await super().receive()
        self.flow.resume_reading()
        return {"type": "http.request", "body": whole, "more_body": False}

    async def send(self, message: "ASGISendEvent") -> None:
        if not self.response_started and message["type"] == "http.response.start":
            if not self.disconnected and self._keep(message["status"], message.get("headers", ())):
                return
        elif self._kept and message["type"] == "http.response.body" and not self.disconnected:
            kept, self._kept = self._kept, b""
            body = message.get("body", b"")
            if not message.get("more_body", False) and len(body) == self.expected_content_length:
                self._finish(kept + body)
                return
            self.transport.write(kept)
        await super().send(message)

    def _keep(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> bool:
        if not self.keep_alive or self.flow.write_paused or self.scope["method"] == "HEAD":
            return False
        header = [*self.default_headers, *fields]
        if not header:
            return False
        names, values = zip(*header, strict=True)
        shape = _shape_of(names)
        # Tabs may stand in a value, so that between them all values can be looked at as one.
        if shape is None or HEADER_VALUE_RE.search(b"\t".join(values)):
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        self.expected_content_length = int(values[shape.length_at].decode())
        self.chunked_encoding = False
        self._kept = STATUS_LINE[status] + shape.text % values
        return True

    def _finish(self, whole: bytes) -> None:
        self.transport.write(whole)
        self.expected_content_length = 0
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

"""The socket side of HTTP: no client holds a connection for ever, and none sends a header or a trailer without end."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from http import HTTPStatus
from types import FunctionType
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.answer import WHOLE
from app.edge.cycle import OnePieceCycle
from app.errors import RETRY_AFTER_SECONDS
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds for a whole header, and for each pause in a body; bytes of request line and header, and of a trailer;
    connections."""

    header_timeout: float = 10
    body_timeout: float = 30
    max_header_bytes: int = 64 * 1024
    max_connections: int = 1000


def bounded_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """For uvicorn's `http`."""

    class Bounded(BoundedProtocol):
        bounds = Bounds(
            settings.header_timeout, settings.body_timeout, settings.max_header_bytes, settings.max_connections
        )

    return Bounded


# uvicorn's, which makes cycles of our class: to turn one of its own into ours would make each look at it take longer.
_begin_cycle = FunctionType(
    HttpToolsProtocol.on_headers_complete.__code__, {**vars(httptools_impl), "RequestResponseCycle": OnePieceCycle}
)


_SHORT_URL = 100
_PLAIN_URL = re.compile(rb"/[A-Za-z0-9_./-]*")


@lru_cache(maxsize=1024)
def _plain_path(url: bytes) -> str | None:
    """The path of a URL that is nothing else: no query, in which an API key may stand."""
    return url.decode("ascii") if _PLAIN_URL.fullmatch(url) else None


class _Awaited(Enum):
    """What the client is to send next."""

    NOTHING = auto()
    HEADER = auto()
    BODY = auto()


_NOTHING, _HEADER, _BODY = _Awaited  # to get one from its Enum takes several times as long

_EXTENSIONS: dict[str, dict[object, object]] = {WHOLE: {}}


class _Unheard(list[tuple[bytes, bytes]]):
    """Keeps nothing of a trailer: what a header says, such as the key or for whom a proxy speaks, is not said there
    (RFC 9110, 6.5.1)."""

    def append(self, field: tuple[bytes, bytes], /) -> None:
        pass


_TRAILER = _Unheard()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, which waits for the rest of a request for ever. While it does not read itself, has not yet
    asked for the body, or owes an answer before the next request, the client's time does not run."""

    # With more than 30 attributes in its dictionary, each look at one of an object's takes longer.
    __slots__ = (
        "_awaited",
        "_begun_in",
        "_crowded",
        "_deadline",
        "_fed",
        "_header_begins",
        "_idle_timer",
        "_idle_until",
        "_last_fed",
        "_timer",
    )

    bounds = Bounds()
    url = b""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._awaited = _NOTHING
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._header_begins = False
        self._fed = self._last_fed = self._begun_in = 0
        self._crowded = False
        self._idle_until: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._crowded = len(self.connections) > self.bounds.max_connections
        if self._crowded:
            self.app = _crowded
        self._turn_to(_HEADER)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._turn_to(_NOTHING)
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._awaited is _NOTHING:
            self._begin_header(0)
        self._last_fed = len(data)
        self._fed += self._last_fed
        super().data_received(data)
        if self._awaited is _NOTHING:  # as nearly always: it came at once
            return
        if self.transport.is_closing():
            self._turn_to(_NOTHING)
        elif self._awaited is _BODY:
            if self._fed > self.bounds.max_header_bytes:
                self._refuse_trailer()
            else:
                self._start_clock()
        elif self._fed > self.bounds.max_header_bytes:
            self._refuse_header()
        elif self._header_begins:
            self._header_begins = False
            self._start_clock()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._awaited is not _HEADER:  # it came right behind another one
            self._begin_header(self._last_fed)

    def on_headers_complete(self) -> None:
        # A field counts for less than twice its octets; most headers are so short that nobody has to count.
        if 2 * (self._begun_in + self._fed) > self.bounds.max_header_bytes and self._is_header_too_large():
            raise ValueError("the header is too large")  # ends the parsing, and in send_400_response
        if not self._begin_usual_cycle():
            _begin_cycle(self)
        if self.cycle is not None and self.cycle.scope is self.scope:  # uvicorn makes it, and its task has not begun
            if type(self.cycle) is OnePieceCycle:
                self.cycle.scope["extensions"] = _EXTENSIONS
            self.headers = _TRAILER  # from here on; the scope has the list of the header
        self._turn_to(_BODY)

    def _begin_usual_cycle(self) -> bool:
        """What uvicorn does for a request, in less time where there is nothing to decide; false: it is to do that."""
        parser, scope, before = self.parser, self.scope, self.cycle
        path = _plain_path(self.url) if len(self.url) <= _SHORT_URL else None
        if path is None or self.root_path or self.limit_concurrency is not None or parser.should_upgrade():
            return False
        if parser.get_http_version() != "1.1" or not (before is None or before.response_complete):
            return False
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"], scope["raw_path"], scope["query_string"] = path, self.url, b""
        self.cycle = OnePieceCycle(  # by their place: by name, so many take twice as long
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            parser.should_keep_alive(),
            self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, self.app)
        return True

    def on_body(self, body: bytes) -> None:
        self._fed = 0  # counts what comes without any body: chunks' extensions, and the trailer
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._turn_to(_NOTHING)

    def on_response_complete(self) -> None:
        """As uvicorn's, but a timer for what it waits for between two requests is not made for each answer: the one
        that is there is set again, when it rings, for what is left."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._ring_idle)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_until = None

    def _ring_idle(self) -> None:
        self._idle_timer = None
        if self._idle_until is None:
            return
        left = self._idle_until - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._ring_idle)
        else:
            self.timeout_keep_alive_handler()

    def handle_websocket_upgrade(self) -> None:
        self._turn_to(_NOTHING)
        if self._crowded:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, _CROWDED, _LATER)
        elif any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            # The WebSocket's protocol would wait for the body, and has no clock.
            self._refuse(HTTPStatus.BAD_REQUEST, "A request for a WebSocket has no body.")
        else:
            super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """What could not be read as HTTP, or has too large a header, is told so in JSON."""
        if self._is_header_too_large():
            self._refuse_header()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "This is not a request of HTTP/1.1.")

    def _is_header_too_large(self) -> bool:
        fields = self.headers or ()
        size = len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in fields)
        return size > self.bounds.max_header_bytes

    def _refuse_header(self) -> None:
        message = f"The request line and header are over the limit of {self.bounds.max_header_bytes} bytes."
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)

    def _refuse_trailer(self) -> None:
        if self.cycle is not None and self.cycle.response_started:
            self.transport.abort()
        else:
            message = f"The trailer is over the limit of {self.bounds.max_header_bytes} bytes."
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)

    def _begin_header(self, begun_in: int) -> None:
        """Somewhere in so many octets, which do not count as fed."""
        self._turn_to(_HEADER)
        self._header_begins = True
        self._begun_in = begun_in

    def _turn_to(self, what: _Awaited) -> None:
        self._awaited = what
        self._fed = 0

    def _start_clock(self) -> None:
        """For what is awaited, anew. One timer is there for all of it, since most of what is awaited comes at once: it
        rings after the shortest of the times, and is set again for what is left."""
        bounds = self.bounds
        seconds = bounds.header_timeout if self._awaited is _HEADER else bounds.body_timeout
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        shortest = min(self.bounds.header_timeout, self.bounds.body_timeout)
        self._timer = self.loop.call_later(min(seconds, shortest), self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._awaited is _NOTHING or self.transport.is_closing():
            return
        left = self._deadline - self.loop.time()
        if left > 0:
            self._set_timer(left)
        else:
            self._time_is_up()

    def _time_is_up(self) -> None:
        if self.cycle is None:
            ours = False
        elif self._awaited is _BODY:
            ours = self.cycle.waiting_for_100_continue
        else:  # stray line ends are taken for the beginning of a header
            ours = not self.cycle.response_complete
        if ours or self.flow.read_paused:
            self._start_clock()
        else:
            self.transport.abort()

    def _refuse(self, status: HTTPStatus, message: str, more: Mapping[str, str] | None = None) -> None:
        """Answer where no application does, and close."""
        self._turn_to(_NOTHING)
        body = _body(status, message)
        header = {**_HEADER_OF_REFUSAL, **(more or {}), "Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {text}" for name, text in header.items())]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()


_CROWDED = "The server has as many connections as it takes. Try again soon."
_LATER = {"Retry-After": str(RETRY_AFTER_SECONDS)}
_HEADER_OF_REFUSAL = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


def _body(status: HTTPStatus, message: str) -> bytes:
    """Both doors' clients find an error in it."""
    error: dict[str, Any] = {"code": status.value, "context": None, "message": message, "status_code": status.value}
    errors = [{"message": message, "extensions": {"code": status.name}}]
    return orjson.dumps({"error": error, "errors": errors})


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    answer = Response(_body(status, _CROWDED), status.value, {**_HEADER_OF_REFUSAL, **_LATER})
    await answer(scope, receive, send)

"""ASGI: the layers around the application, the outermost last."""

import logging
import re
import secrets
from collections.abc import Iterable
from functools import lru_cache
from time import perf_counter
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.edge.cors import CrossOrigin
from app.edge.proxies import hops_in, hops_of, is_trusted, node_address, origin
from app.log import UsualLine
from app.request import RequestNotes, begin_request
from app.settings import Settings

_LINE = UsualLine(logging.getLogger("app.requests"), "%s %s %d %.1f ms %s")

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=-]{0,127}")
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"})
_CLAIMS = _FORWARDED | {b"x-request-id"}
_SHOWN_PATH_CHARS = 200
_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_SECURE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


def at_the_edge(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application as it meets the network."""
    app = SecureHeader(CrossOrigin(app, settings), settings.hsts_max_age)
    return TrustedProxies(Requests(app, log=settings.log_requests), settings)


class TrustedProxies:
    """Sets the client and the scheme to what trusted proxies say of them. What anybody else claims of a request, its
    id included, is taken out."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._trusted = settings.trusted_proxies
        self._standard = settings.forwarded_header == "forwarded"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = self._seen(scope)
        await self._app(scope, receive, send)

    def _seen(self, scope: Scope) -> Scope:
        if not any(name in _CLAIMS for name, _ in scope["headers"]):
            return scope
        peer = node_address((scope.get("client") or ("",))[0])
        if peer is None or not is_trusted(peer, self._trusted):
            return {**scope, "headers": _without(_CLAIMS, scope)}
        if self._standard:
            hops = hops_in(_values(b"forwarded", scope))
        else:
            hops = hops_of(_values(b"x-forwarded-for", scope), _values(b"x-forwarded-proto", scope))
        address, scheme = origin(peer, hops, self._trusted)
        client = scope["client"] if address == peer else (str(address), 0)
        return {
            **scope,
            "client": client,
            "scheme": _scheme(scope, scheme),
            "headers": _without(_FORWARDED, scope),
        }


class Requests:
    """Gives each request an id, which its answer and its lines in the log carry, and writes one line about it: never
    its query, header or body."""

    def __init__(self, app: ASGIApp, *, log: bool) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        notes, began, status = begin_request(_request_id(scope)), perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            status = status or _status(message)
            if message["type"] in _BEGINNINGS:
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", notes.id.encode("ascii"))]
            await send(message)

        # One that is broken off by an exception stays the current one: whoever logs that is still to come.
        try:
            await self._app(scope, receive, answer)
        finally:
            if self._log:
                _tell(scope, status, perf_counter() - began, notes)
        notes.ended = True


class SecureHeader:
    """Puts what browsers should know of every answer into its header, unless it is there."""

    def __init__(self, app: ASGIApp, hsts_max_age: int) -> None:
        self._app = app
        hsts = (b"strict-transport-security", f"max-age={hsts_max_age}".encode())
        self._of_https = (*_SECURE, hsts) if hsts_max_age else _SECURE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = self._of_https if scope["scheme"] == "https" else _SECURE
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(field for field in fields if field[0] not in there)]
            await send(message)

        await self._app(scope, receive, answer if scope["type"] == "http" else send)


def _values(name: bytes, scope: Scope) -> list[str]:
    return [value.decode("latin-1") for field, value in scope["headers"] if field == name]


def _without(names: Iterable[bytes], scope: Scope) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in scope["headers"] if name not in names]


def _scheme(scope: Scope, told: str | None) -> str:
    if told is None:
        return str(scope["scheme"])
    if scope["type"] == "websocket":
        return "wss" if told == "https" else "ws"
    return told


def _request_id(scope: Scope) -> str:
    given = _values(b"x-request-id", scope)
    return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else secrets.token_hex(8)


def _status(message: Message) -> int:
    if message["type"] in ("http.response.start", "websocket.http.response.start"):
        return int(message["status"])
    return {"websocket.accept": 101, "websocket.close": 403}.get(message["type"], 0)


@lru_cache(maxsize=1024)
def _quoted(path: str) -> str:
    return quote(path, safe="/:@$,;=+!*'()~")[:_SHOWN_PATH_CHARS]


def _tell(scope: Scope, status: int, seconds: float, notes: RequestNotes) -> None:
    """Status 0 where there was no answer. The path is quoted: no line of it can pass for one of the log's."""
    method, path = scope.get("method", "WEBSOCKET"), _quoted(scope["path"][:_SHOWN_PATH_CHARS])
    milliseconds, key_id = round(seconds * 1000, 1), notes.key_id
    _LINE.write(
        (method, path, status, milliseconds, key_id or "-"),
        {"method": method, "path": path, "status": status, "milliseconds": milliseconds, "key_id": key_id},
    )

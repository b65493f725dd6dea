"""ASGI: what is around the application, in one layer, since a layer of its own for each concern takes longer than all
of them."""

import logging
import re
from collections.abc import Awaitable, Collection, Iterable
from functools import lru_cache
from time import perf_counter
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.answer import WHOLE, Field, Header, Names
from app.edge.cors import VARY, CrossOrigin, methods_across
from app.edge.proxies import hops_in, hops_of, is_trusted, node_address, origin
from app.indexed import FIRST_FIELDS, first_fields
from app.log import UsualLine, write_gathered
from app.randomness import RandomParts
from app.request import RequestNotes, begin_request
from app.settings import Settings

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=-]{0,127}")
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"})
_CLAIMS = _FORWARDED | {b"x-request-id"}
_SHOWN_PATH_CHARS = 200
_SHORT_CLAIM = 200
_SECURE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)

_SHORT_PATH = 200

_random = RandomParts("8s")
_Sending = Awaitable[None]  # by its name: what a function is annotated with is worked out wherever it is made
_known_methods = lru_cache(maxsize=1024)(methods_across)


def at_the_edge(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application as it meets the network."""
    return Edge(app, settings)


class Edge:
    """Gives each request an id, which its answer and its lines in the log carry, and writes one line about it: never
    its query, header or body. Who it is from, what pages of other origins may do, and what browsers should know of its
    answer, it leaves to others.

    Lines wait for those of other requests only while others are under way: else they are there before the answer is."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._proxies = TrustedProxies(settings)
        self._pages = CrossOrigin(settings)
        self._secure = SecureHeader(settings.hsts_max_age)
        self._log = settings.log_requests
        self._under_way = 0
        self._further = lru_cache(maxsize=256)(self._completion)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        fields = first_fields(scope)
        if not _CLAIMS.isdisjoint(fields):
            scope = self._proxies.seen(scope)
            fields = first_fields(scope)
        given_id = _given_id(scope) if b"x-request-id" in fields else None
        notes, began, status = begin_request(given_id or _random()[0].hex()), perf_counter(), 0
        is_told = not self._log
        path = scope["path"]
        app, methods = self._app, (_known_methods if len(path) <= _SHORT_PATH else methods_across)(path)

        def answer(message: Message) -> _Sending:
            nonlocal status, is_told
            kind = message["type"]
            if kind == WHOLE:
                status, header = int(message["status"]), message["header"]
                further = self._further(header.names, bool(methods), scope["scheme"])
                values = (*header.values, *further.values, notes.id.encode("ascii"))
                message["header"] = Header(further.names, values)
            elif kind == "http.response.start":
                status = status or int(message["status"])
                there = dict(message.get("headers", ()))
                if methods and (b"origin" in fields or b"vary" in there):
                    return self._answer_page(message, there, scope, notes, send)
                message["headers"] = [*message.get("headers", ()), *([VARY] if methods else ())]
                self._complete(message["headers"], there, scope, notes)
            elif kind in _STATUS_OF_SOCKET:
                status = status or _STATUS_OF_SOCKET[kind] or int(message["status"])
                if kind != "websocket.close":
                    message["headers"] = [*message.get("headers", ()), (b"x-request-id", notes.id.encode("ascii"))]
            if kind in _LAST and self._under_way == 1 and not is_told and not message.get("more_body"):
                is_told = True
                _tell(scope, status, perf_counter() - began, notes)
                write_gathered()  # the event loop may write an answer at once
            return send(message)

        is_http = scope["type"] == "http"
        if methods and b"origin" in fields and WHOLE in scope.get("extensions", ()):
            scope = {**scope, "extensions": {}}  # its answer takes more than fields that are the same each time
        self._under_way += is_http
        # One that is broken off by an exception stays the current one: whoever logs that is still to come.
        try:
            if methods and not is_http:
                scope = await self._pages.judged(scope)
            elif methods and scope["method"] == "OPTIONS":
                preflight = await self._pages.preflight(scope, methods)
                if preflight is not None:
                    app, methods = preflight, None
            await app(scope, receive, answer)
        finally:
            if not is_told:
                _tell(scope, status, perf_counter() - began, notes)
            self._under_way -= is_http
            if not self._under_way:
                write_gathered()
        notes.ended = True

    def _completion(self, names: Names, at_door: bool, scheme: str) -> Header:
        """What a header with these names becomes at a door, or elsewhere: all its names, and of what comes behind its
        own fields the values, but for the request's id."""
        fields: list[Field] = [VARY] if at_door else []
        self._secure.complete(fields, names, scheme)
        added = [*zip(*fields, strict=True)] or [(), ()]
        return Header((*names, *added[0], b"x-request-id"), added[1])

    async def _answer_page(
        self, message: Message, there: Collection[bytes], scope: Scope, notes: RequestNotes, send: Send
    ) -> None:
        header = message["headers"] = [*message.get("headers", ())]
        await self._pages.complete(header, scope)
        self._complete(header, there, scope, notes)
        await send(message)

    def _complete(self, header: list[Field], there: Collection[bytes], scope: Scope, notes: RequestNotes) -> None:
        self._secure.complete(header, there, scope["scheme"])
        header.append((b"x-request-id", notes.id.encode("ascii")))


_LAST = frozenset({WHOLE, "http.response.body"})
_STATUS_OF_SOCKET = {"websocket.accept": 101, "websocket.close": 403, "websocket.http.response.start": 0}
"""0: the one that is told."""


class TrustedProxies:
    """Sets the client and the scheme to what trusted proxies say of them. What anybody else claims of a request, its
    id included, is taken out."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = settings.trusted_proxies
        self._standard = settings.forwarded_header == "forwarded"
        self._heard = frozenset({b"forwarded"}) if self._standard else _FORWARDED - {b"forwarded"}
        self._known_origin = lru_cache(maxsize=4096)(self._origin)

    def seen(self, scope: Scope) -> Scope:
        """The request as it is meant, which claims something."""
        told = tuple(field for field in scope["headers"] if field[0] in self._heard)
        is_short = sum(len(value) for _, value in told) <= _SHORT_CLAIM
        found = (self._known_origin if is_short else self._origin)((scope.get("client") or ("",))[0], told)
        if found is None:
            return {**scope, "headers": _without(_CLAIMS, scope), FIRST_FIELDS: None}
        address, scheme = found
        return {
            **scope,
            "client": scope["client"] if address is None else (address, 0),
            "scheme": _scheme(scope, scheme),
            "headers": _without(_FORWARDED, scope),
            FIRST_FIELDS: None,
        }

    def _origin(self, client: str, told: tuple[Field, ...]) -> tuple[str | None, str | None] | None:
        """The address that the request is from, None for the client's own, and its scheme, if known; None where the
        client is no trusted proxy."""
        peer = node_address(client)
        if peer is None or not is_trusted(peer, self._trusted):
            return None
        if self._standard:
            hops = hops_in(_values(b"forwarded", told))
        else:
            hops = hops_of(_values(b"x-forwarded-for", told), _values(b"x-forwarded-proto", told))
        address, scheme = origin(peer, hops, self._trusted)
        return None if address == peer else str(address), scheme


class SecureHeader:
    """What browsers should know of every answer."""

    def __init__(self, hsts_max_age: int) -> None:
        hsts = (b"strict-transport-security", f"max-age={hsts_max_age}".encode())
        self._of_https = (*_SECURE, hsts) if hsts_max_age else _SECURE
        self._names = frozenset(name for name, _ in self._of_https)

    def complete(self, header: list[Field], there: Collection[bytes], scheme: str) -> None:
        """Put it into the header, but what is `there`."""
        fields = self._of_https if scheme == "https" else _SECURE
        header += fields if self._names.isdisjoint(there) else [field for field in fields if field[0] not in there]


def _values(name: bytes, fields: Iterable[Field]) -> list[str]:
    return [value.decode("latin-1") for field, value in fields if field == name]


def _without(names: Iterable[bytes], scope: Scope) -> list[Field]:
    return [(name, value) for name, value in scope["headers"] if name not in names]


def _scheme(scope: Scope, told: str | None) -> str:
    if told is None:
        return str(scope["scheme"])
    if scope["type"] == "websocket":
        return "wss" if told == "https" else "ws"
    return told


def _given_id(scope: Scope) -> str | None:
    given = _values(b"x-request-id", scope["headers"])
    return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else None


@lru_cache(maxsize=1024)
def _quoted(path: str) -> str:
    return quote(path, safe="/:@$,;=+!*'()~")[:_SHOWN_PATH_CHARS]


def _tell(scope: Scope, status: int, seconds: float, notes: RequestNotes) -> None:
    """Status 0 where there was no answer. The path is quoted: no line of it can pass for one of the log's."""
    method, path = scope.get("method", "WEBSOCKET"), _quoted(scope["path"][:_SHOWN_PATH_CHARS])
    _LINE.write(method, path, status, seconds * 1000, notes.key_id or _NO_KEY)


def _fields(method: str, path: str, status: int, milliseconds: float, key_id: str) -> dict[str, object]:
    """What the line tells, for logs in JSON."""
    return {
        "method": method,
        "path": path,
        "status": status,
        "milliseconds": round(milliseconds, 1),
        "key_id": None if key_id == _NO_KEY else key_id,
    }


_NO_KEY = "-"
_LINE = UsualLine(logging.getLogger("app.requests"), "%s %s %d %.1f ms %s", _fields)

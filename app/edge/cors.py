"""Cross-origin requests (the Fetch standard's CORS protocol): pages of a browser key's origins may ask, no others.

A preflight carries no key, so it is answered for the origins of all browser keys. A page may read an answer where the
API key of its request is a browser key for its origin; and one to a request that showed no valid key, such as a 401,
where any is. Credentials of the browser's own, such as cookies, are never allowed: there are none.
"""

import logging
import re
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.known_origins import KnownOrigins
from app.access.web_origin import canonical_origin, offered_origin
from app.database.connection import is_transient
from app.database.trouble import log_trouble
from app.request import current_request
from app.settings import Settings

logger = logging.getLogger(__name__)

KNOWN_ORIGIN = "heliograph.known_origin"
"""In the scope of a WebSocket: whether its Origin is one of a browser key."""

_GRAPHQL = re.compile(r"/graphql/?")
_REST = re.compile(r"/api/v2/[^/]+/?")
_REQUEST_FIELDS = "Authorization, Content-Type, Idempotency-Key, Prefer, X-API-Key, X-DreamFactory-API-Key"
_ANSWER_FIELDS = (
    "Idempotent-Replayed, Retry-After, X-Message-Id, X-Message-Status, X-RateLimit-Limit, X-RateLimit-Remaining,"
    " X-RateLimit-Reset, X-Request-Id"
)


class CrossOrigin:
    """Answers preflights for both doors, and lets pages read the doors' answers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._known = KnownOrigins(settings.cors_refresh)
        self._max_age = settings.cors_max_age

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not (methods := _methods(scope["path"])):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = offered_origin(headers)
        if scope["type"] == "websocket":
            await self._app({**scope, KNOWN_ORIGIN: await self._is_known(origin)}, receive, send)
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers and await self._is_known(origin):
            await self._preflight(origin or "", methods)(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = MutableHeaders(scope=message)
                header.add_vary_header("Origin")
                if origin is not None and scope["method"] != "OPTIONS" and await self._may_read(origin):
                    header["Access-Control-Allow-Origin"] = origin
                    header["Access-Control-Expose-Headers"] = _ANSWER_FIELDS
            await send(message)

        await self._app(scope, receive, answer)

    def _preflight(self, origin: str, methods: str) -> Response:
        headers = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": _REQUEST_FIELDS,
            "Access-Control-Max-Age": f"{self._max_age}",
            "Vary": "Origin",
        }
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)

    async def _may_read(self, origin: str) -> bool:
        request = current_request()
        if request is not None and request.key_id is not None:
            return origin in request.key_origins
        return await self._is_known(origin)

    async def _is_known(self, origin: str | None) -> bool:
        """Not where the database cannot be asked: the answer is no, or says so itself."""
        if origin is None or canonical_origin(origin) != origin:
            return False
        try:
            return await self._known.includes(origin)
        except Exception as error:
            if not is_transient(error):
                raise
            log_trouble(logger, error, "the database is in trouble")
            return False


def _methods(path: str) -> str | None:
    """What may be asked there across origins; None: nothing."""
    if _GRAPHQL.fullmatch(path):
        return "GET, POST"
    return "POST" if _REST.fullmatch(path) else None

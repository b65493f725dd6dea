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
from starlette.types import Scope

from app.access.known_origins import KnownOrigins
from app.access.web_origin import canonical_origin, offered_origin
from app.answer import Field
from app.database.connection import is_transient
from app.database.trouble import log_trouble
from app.request import current_request
from app.settings import Settings

logger = logging.getLogger(__name__)

KNOWN_ORIGIN = "heliograph.known_origin"
"""In the scope of a WebSocket: whether its Origin is one of a browser key."""

_DOORS = re.compile(r"(?P<graphql>/graphql/?)|/api/v2/[^/]+/?")
VARY = (b"vary", b"Origin")
_REQUEST_FIELDS = "Authorization, Content-Type, Idempotency-Key, Prefer, X-API-Key, X-DreamFactory-API-Key"
_ANSWER_FIELDS = (
    "Idempotent-Replayed, Retry-After, X-Message-Id, X-Message-Status, X-RateLimit-Limit, X-RateLimit-Remaining,"
    " X-RateLimit-Reset, X-Request-Id"
)


class CrossOrigin:
    """Answers preflights for both doors, and lets pages read the doors' answers."""

    def __init__(self, settings: Settings) -> None:
        self._known = KnownOrigins(settings.cors_refresh)
        self._max_age = settings.cors_max_age

    async def judged(self, scope: Scope) -> Scope:
        """The WebSocket at a door, with its KNOWN_ORIGIN."""
        return {**scope, KNOWN_ORIGIN: await self._is_known(offered_origin(Headers(scope=scope)))}

    async def preflight(self, scope: Scope, methods: str) -> Response | None:
        """The answer to an OPTIONS request at a door where `methods` may be asked; None: it is no preflight, or of a
        page that may not ask."""
        headers = Headers(scope=scope)
        origin = offered_origin(headers)
        if origin is None or "access-control-request-method" not in headers or not await self._is_known(origin):
            return None
        return self._preflight(origin, methods)

    async def complete(self, header: list[Field], scope: Scope) -> None:
        """Put into the header of a door's answer who may read it. Where the request tells no origin, and nothing else
        varies, that is VARY."""
        fields = MutableHeaders(raw=header)
        fields.add_vary_header("Origin")
        origin = offered_origin(Headers(scope=scope))
        if origin is not None and scope["method"] != "OPTIONS" and await self._may_read(origin):
            fields["Access-Control-Allow-Origin"] = origin
            fields["Access-Control-Expose-Headers"] = _ANSWER_FIELDS

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


def methods_across(path: str) -> str | None:
    """What may be asked at this path across origins; None: nothing, it is no door's."""
    found = _DOORS.fullmatch(path)
    if found is None:
        return None
    return "GET, POST" if found["graphql"] else "POST"

"""A shorter way to the two doors, for what nearly all requests are: a POST to one of them.

Both answer every exception themselves, so that nothing of what Starlette puts around an endpoint is needed. Every other
request goes through its routes, and finds the same endpoints there.
"""

import re
from collections.abc import Awaitable, Mapping
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

_SERVICE = re.compile(r"/api/v2/([^/]+)")
_SHORT = 200


class Doors:
    """`named`: endpoints by their path; `of_service`: that of /api/v2/{service}."""

    def __init__(self, named: Mapping[str, ASGIApp], of_service: ASGIApp) -> None:
        self._named = named
        self._of_service = of_service

    def before(self, app: ASGIApp) -> ASGIApp:
        """The application for everything, of which `app` answers what is not for the doors."""

        def answer(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            endpoint = self._endpoint(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
            return (endpoint or app)(scope, receive, send)

        return answer

    def _endpoint(self, scope: Scope) -> ASGIApp | None:
        if scope.get("root_path"):
            return None
        path = scope["path"]
        if (endpoint := self._named.get(path)) is not None:
            return endpoint
        service = _known_service(path) if len(path) <= _SHORT else _service(path)
        if service is None:
            return None
        scope["path_params"] = {"service": service}
        return self._of_service


def _service(path: str) -> str | None:
    found = _SERVICE.fullmatch(path)
    return None if found is None else found[1]


_known_service = lru_cache(maxsize=1024)(_service)

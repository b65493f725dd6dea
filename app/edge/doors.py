"""A shorter way to the two doors, for what nearly all requests are: a POST to one of them.

Both answer every exception themselves, so that nothing of what Starlette puts around an endpoint is needed. Every other
request goes through its routes, and finds the same endpoints there.
"""

import re
from collections.abc import Awaitable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

_SERVICE = re.compile(r"/api/v2/([^/]+)")


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
        if (endpoint := self._named.get(scope["path"])) is not None:
            return endpoint
        found = _SERVICE.fullmatch(scope["path"])
        if found is None:
            return None
        scope["path_params"] = {"service": found[1]}
        return self._of_service

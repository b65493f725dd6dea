"""The REST routes. Quirks kept on purpose, because clients rely on them:

- the service's name is matched in any case, and a trailing slash is tolerated;
- the API key may come as `?api_key=`;
- JSON is read as JSON under any content type, also under that of a form where it starts with `{`, as curl sends it;
- without a body the query is the mail; beside one it may still name a template;
- forms and queries nest as PHP reads them (`to[0][email]=…`), and JSON text stands for lists and objects there; a
  repeated `to`, `cc`, `bcc` or `attachment` counts each time, of any other field the last one;
- a file of a multipart form is attached whatever its field is called;
- success is 200 with exactly `{"count": n}`; everything new travels in headers;
- a mail that the SMTP server refused is a 500, with the reply's code as `error.code`;
- unknown keys of the body are template variables, never errors;
- every failure, also 404 and 405 below /api/, has the envelope `{"error": {code, context, message, status_code}}`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.database.connection import is_transient
from app.database.trouble import log_trouble
from app.errors import Refusal, Stopped, Unavailable
from app.rest.errors import error_response, refusal_response, unexpected_response
from app.rest.send import Sender

logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


def rest_endpoint(sender: Sender) -> ASGIApp:
    """What answers the compatibility route."""
    return _Enveloped(sender.send)


def rest_routes(endpoint: ASGIApp) -> list[Route]:
    """The compatibility route, and the envelope for everything else below /api/."""
    unknown = _Enveloped(_unknown_path)
    return [
        Route("/api/v2/{service}", endpoint),
        Route("/api/v2/{service}/", endpoint),
        Route("/api", unknown),
        Route("/api/{path:path}", unknown),
    ]


class _Enveloped:
    """An ASGI application, so that it answers every method itself; a function would be given GET only."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._endpoint(Request(scope, receive, send))
        except (Exception, asyncio.CancelledError) as error:
            response = _failure(error)
        await response(scope, receive, send)


def _failure(error: Exception | asyncio.CancelledError) -> Response:
    if isinstance(error, Refusal):
        return refusal_response(error)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)
    if isinstance(error, asyncio.CancelledError):  # the server ends, and would say itself that nothing will be sent
        return refusal_response(Stopped())
    if is_transient(error):
        log_trouble(logger, error, "the database is in trouble")
        return refusal_response(Unavailable())
    return unexpected_response(error)


async def _unknown_path(request: Request) -> Response:
    return error_response(404, "There is nothing here. Mail is sent with POST /api/v2/{service}.")

"""The GraphQL endpoint: POST for queries and mutations, WebSocket for subscriptions, GraphiQL for browsers.

HTTP keeps to GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/), WebSocket to graphql-transport-ws.
Every answer is JSON but for GraphiQL's page. GET runs queries alone, and none that a link or an image asks for: an API
key comes in a header, which neither of them can send.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
import strawberry
from graphql import GraphQLError
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import NonJsonMessageReceived
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UnsetType

from app.answer import Header, answer, encoded
from app.database.connection import is_transient
from app.errors import RETRY_AFTER_SECONDS, ErrorCode, Refusal, Stopped, TooLarge, Unavailable, accepted_unseen
from app.graphql.errors import (
    INTERNAL_MESSAGE,
    RequestErrorCode,
    log_internal,
    presented,
    problem_extensions,
    unseen_extensions,
)
from app.graphql.graphiql import GraphiQL
from app.graphql.request import (
    JSON,
    GraphQLRequest,
    HttpError,
    RequestLimits,
    read_request,
    response_type,
    wants_html,
)
from app.graphql.websocket import (
    ConnectionUnavailable,
    OpenSockets,
    SocketLimits,
    TransportWsHandler,
    WebSocketAdapter,
)
from app.indexed import first_fields
from app.json_text import TooDeep, parse_json

Context = TypeVar("Context")

OPERATIONS = {
    "POST": {OperationType.QUERY, OperationType.MUTATION},
    "GET": {OperationType.QUERY},
    "HEAD": {OperationType.QUERY},
}
"""What each method may run."""

NO_SCRIPT = {"navigate", "no-cors"}
"""Sec-Fetch-Mode, by which browsers tell a link or an image from a request that a script made."""

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

STATUS_OF_REFUSAL = {
    ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.INVALID_API_KEY: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.ROLE_INACTIVE: HTTPStatus.FORBIDDEN,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""For a refusal raised before the operation runs; a resolver's refusal is part of a 200, but for UNAVAILABLE."""


async def accept_connection(context: Any) -> Hashable:
    """The default `on_connect`: every WebSocket may connect, and is nobody's."""
    return None


def never_closed(context: Any, close: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """The default `on_open`: nobody but its client closes a WebSocket."""
    return lambda: None


class GraphQLView(GraphQL[Context, None]):
    """An ASGI application for one schema; put it into a Starlette application with `routes()`.

    `make_context` is awaited once per HTTP request and once per WebSocket. A Refusal it raises answers the HTTP request
    with 401, 403, 503 or 400; any other exception with a masked 500. Where a resolver found the database not available,
    the answer is a 503, what the others found included. Its Retry-After is left out where the context's attributes say
    that something was done: `carried_out` has the ids of it, by the mutations' response keys; `unseen` is true where a
    payload tells itself what it cannot show.

    `on_connect` is awaited with the context when a WebSocket client has sent connection_init, whose payload Strawberry
    has put into `context.connection_params` if the context has this attribute. It returns whose the socket is, for the
    limit of sockets per API key. A Refusal it raises closes the socket with 4403; database trouble that passes, or too
    many sockets, with 1013 (try again later). `on_open` is called once the client is let in, with the context and what
    to await to close the socket with 4403; it returns what to call when the socket is gone. A page of another origin
    may open a socket where `is_known_origin` says so of its handshake.
    """

    graphql_transport_ws_handler_class = TransportWsHandler
    websocket_adapter_class = WebSocketAdapter

    def __init__(
        self,
        schema: strawberry.Schema,
        make_context: Callable[[HTTPConnection], Awaitable[Context]],
        *,
        on_connect: Callable[[Context], Awaitable[Hashable]] = accept_connection,
        on_open: Callable[[Context, Callable[[], Awaitable[None]]], Callable[[], None]] = never_closed,
        graphiql: GraphiQL | None = None,
        limits: RequestLimits | None = None,
        socket_limits: SocketLimits | None = None,
        is_known_origin: Callable[[Scope], bool] = lambda scope: False,
    ) -> None:
        socket_limits = socket_limits or SocketLimits()
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=timedelta(seconds=socket_limits.init_timeout),
            max_subscriptions_per_connection=socket_limits.operations,
        )
        self._make_context = make_context
        self._on_connect = on_connect
        self.on_open = on_open
        self._graphiql = graphiql
        self._is_known_origin = is_known_origin
        self.limits = limits or RequestLimits()
        self.sockets = OpenSockets(socket_limits.sockets_per_key)

    def routes(self, path: str = "/graphql") -> list[BaseRoute]:
        """The endpoint at `path`, with and without a slash at its end, and GraphiQL's assets below it."""
        assets = self._graphiql.routes(path) if self._graphiql else []
        ends = (path, f"{path}/")
        return [*assets, *(Route(end, self) for end in ends), *(WebSocketRoute(end, self) for end in ends)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request or serve one WebSocket."""
        if scope["type"] == "websocket":
            await super().__call__(scope, receive, send)
            return
        try:
            response = await self._answer(Request(scope, receive))
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        media_type = JSON
        try:
            if request.scope["method"] != "POST":
                if page := self._page(request):
                    return page
                _check_method(request)
            if b"accept" in first_fields(request.scope):
                media_type = response_type(request.headers)
            return await self._run(await read_request(request, self.limits), request, media_type)
        except HttpError as error:
            shown = {"message": error.message, "extensions": {"code": error.code.value}}
            return _errors_only([shown], error.status, media_type, error.headers)
        except Refusal as refusal:
            return _refused(refusal, media_type)
        except ClientDisconnect:
            raise
        except asyncio.CancelledError:  # the server ends, and would answer in plain text
            return _refused(Stopped(), media_type)
        except Exception as error:
            if is_transient(error):
                return _refused(Unavailable(), media_type)
            masked = {"message": INTERNAL_MESSAGE, "extensions": log_internal(error)}
            return _errors_only([masked], HTTPStatus.INTERNAL_SERVER_ERROR, media_type)

    def _page(self, request: Request) -> Response | None:
        if request.method not in ("GET", "HEAD") or not wants_html(request.headers):
            return None
        if self._graphiql is None:
            raise HttpError(
                HTTPStatus.NOT_FOUND,
                ErrorCode.NOT_FOUND,
                "GraphiQL is switched off on this server. Accept application/json to send a query by GET.",
            )
        return self._graphiql.page(request)

    async def _run(self, asked: GraphQLRequest, request: Request, media_type: str) -> Response:
        context = await self._make_context(request)
        try:
            result = await self.schema.execute(
                asked.query,
                variable_values=asked.variables,
                context_value=context,
                operation_name=asked.operation_name,
                allowed_operation_types=OPERATIONS[request.scope["method"]],
                operation_extensions=asked.extensions,
            )
        except asyncio.CancelledError:
            if carried_out := getattr(context, "carried_out", None):
                return _accepted_unseen(carried_out, media_type)
            raise
        except CannotGetOperationTypeError as error:
            shown = presented(GraphQLError(str(error), original_error=error))
            return _request_error([shown], media_type)
        except InvalidOperationTypeError as error:
            raise _wrong_operation(error.operation_type) from None
        unseen = bool(getattr(context, "unseen", False))
        return _result(result, media_type, unseen=unseen, done=unseen or bool(getattr(context, "carried_out", None)))

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """The context of a WebSocket, for Strawberry."""
        return await self._make_context(request)

    def is_websocket_origin_allowed(self, request: WebSocket, origin: str) -> bool:
        """Whether a page of another origin may open this WebSocket, for Strawberry."""
        return self._is_known_origin(request.scope)

    async def on_ws_connect(self, context: Context) -> UnsetType:
        """Let `on_connect` judge the connection_init payload, for Strawberry."""
        try:
            self.sockets.enter(context, await self._on_connect(context))
        except Refusal as refusal:
            raise ConnectionRejectionError from refusal
        except Exception as error:
            if not is_transient(error):
                raise
            raise ConnectionUnavailable("The database is not available right now") from error
        return UnsetType()

    def decode_json(self, data: str | bytes) -> object:
        """A WebSocket message to a value, for Strawberry; a TooLarge where it has too many. Raises
        NonJsonMessageReceived, also when it nests too deeply."""
        try:
            return parse_json(data.encode() if isinstance(data, str) else data, self.limits.json_values)
        except TooLarge as refusal:
            return refusal
        except (ValueError, TooDeep) as error:
            raise NonJsonMessageReceived from error

    def encode_json(self, data: object) -> str:
        """A WebSocket message as text: bytes would go out as a binary frame, which the protocol does not know."""
        return orjson.dumps(data).decode()


def _check_method(request: Request) -> None:
    """Of a request that is no POST."""
    if request.method not in OPERATIONS:
        raise _wrong_method("Send GraphQL requests by POST, or queries by GET.", ", ".join(sorted(OPERATIONS)))
    if request.headers.get("sec-fetch-mode") in NO_SCRIPT:
        raise HttpError(HTTPStatus.FORBIDDEN, ErrorCode.FORBIDDEN, "A query by GET is not for links and images.")


def _wrong_operation(operation_type: OperationType) -> HttpError:
    if operation_type is OperationType.MUTATION:
        return _wrong_method("Send mutations by POST.", "POST")
    return HttpError(
        HTTPStatus.BAD_REQUEST,
        RequestErrorCode.BAD_REQUEST,
        f"A subscription needs a WebSocket with the subprotocol {GRAPHQL_TRANSPORT_WS_PROTOCOL}.",
    )


def _wrong_method(message: str, allowed: str) -> HttpError:
    return HttpError(HTTPStatus.METHOD_NOT_ALLOWED, RequestErrorCode.METHOD_NOT_ALLOWED, message, {"Allow": allowed})


def _result(result: ExecutionResult, media_type: str, *, unseen: bool, done: bool) -> Response:
    """200, or 503 where the database was not available for some of it (`unseen`: for telling what was done); it says
    when to try again unless something was `done`."""
    errors = result.errors or []
    if not errors and not unseen and not result.extensions:
        return _response({"data": result.data}, HTTPStatus.OK, media_type)
    unavailable = [error for error in errors if _code(error) == ErrorCode.UNAVAILABLE]
    if not unavailable and (
        isinstance(result, PreExecutionError)
        or (result.data is None and errors and all(error.path is None for error in errors))
    ):
        return _request_error(errors, media_type)
    body: dict[str, Any] = {"data": result.data}
    if errors:
        body["errors"] = [error.formatted for error in errors]
    if result.extensions:
        body["extensions"] = result.extensions
    if not unavailable and not unseen:
        return _response(body, HTTPStatus.OK, media_type)
    headers = {} if done else {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return _response(body, HTTPStatus.SERVICE_UNAVAILABLE, media_type, headers)


def _accepted_unseen(carried_out: dict[str, str], media_type: str) -> Response:
    shown = {"message": accepted_unseen(*carried_out.values()), "extensions": unseen_extensions(carried_out)}
    return _errors_only([shown], HTTPStatus.SERVICE_UNAVAILABLE, media_type)


def _request_error(errors: Sequence[GraphQLError], media_type: str) -> Response:
    """The operation did not run. Under application/json a GraphQL request error is a 200, as clients of old expect."""
    if any(_code(error) == ErrorCode.INTERNAL for error in errors):
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    else:
        status = HTTPStatus.OK if media_type == JSON else HTTPStatus.BAD_REQUEST
    return _errors_only([error.formatted for error in errors], status, media_type)


def _code(error: GraphQLError) -> object:
    return (error.extensions or {}).get("code")


def _refused(refusal: Refusal, media_type: str) -> Response:
    problem = refusal.problems[0]
    status = STATUS_OF_REFUSAL.get(problem.code, HTTPStatus.BAD_REQUEST)
    # RFC 9110 section 15.5.2: a 401 names a scheme to authenticate with.
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    if problem.retryable:
        headers["Retry-After"] = str(problem.retry_after)
    error = {"message": problem.message, "extensions": problem_extensions(problem)}
    return _errors_only([error], status, media_type, headers)


def _errors_only(
    errors: Sequence[Any], status: HTTPStatus, media_type: str, headers: dict[str, str] | None = None
) -> Response:
    return _response({"errors": errors}, status, media_type, headers)


def _response(
    body: dict[str, Any], status: HTTPStatus, media_type: str, headers: dict[str, str] | None = None
) -> Response:
    header = _header_of(media_type)
    names, values = header.names, header.values
    if headers:
        further = encoded(headers)
        names, values = (*names, *further.names), (*values, *further.values)
    return answer(orjson.dumps(body), status, names, values)


@lru_cache(maxsize=2)
def _header_of(media_type: str) -> Header:
    """That of every answer in one of the two media types."""
    return encoded({**HEADERS, "Content-Type": f"{media_type}; charset=utf-8"})

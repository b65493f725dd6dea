"""GraphQL over WebSocket, protocol graphql-transport-ws: what Strawberry takes on trust is checked here first."""

from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from graphql import GraphQLError
from starlette.websockets import WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    SubscribeMessage,
)

from app.errors import TooLarge
from app.graphql.errors import RequestErrorCode, presented
from app.graphql.request import check_length
from app.settings import Settings

MAX_REASON_BYTES = 123
"""A close reason shares a control frame of 125 bytes with its code: RFC 6455 section 5.5."""

MESSAGE_TYPES = {"connection_init", "ping", "pong", "subscribe", "complete"}


TRY_AGAIN_LATER = 1013
"""A close code (IANA's registry of RFC 6455 section 11.7) that clients take as a reason to connect again."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """The most that one WebSocket, or all of one API key, may ask of this process; and how long, in seconds, a socket
    may be without connection_init."""

    init_timeout: float = 10
    operations: int = 100
    sockets_per_key: int = 100

    @classmethod
    def from_settings(cls, settings: Settings) -> "SocketLimits":
        """The limits as the operator set them."""
        return cls(
            init_timeout=settings.graphql_connection_init_timeout,
            operations=settings.graphql_max_operations_per_socket,
            sockets_per_key=settings.graphql_max_sockets_per_key,
        )


class OpenSockets:
    """Whose the open WebSockets are; each is known by its context, which lives as long as it does."""

    def __init__(self, most_per_owner: int) -> None:
        self._most = most_per_owner
        self._owners: dict[int, Hashable] = {}

    def enter(self, context: object, owner: Hashable) -> None:
        """Count one more; not where `owner` is None. Raises ConnectionUnavailable where there are as many as may be."""
        if owner is None:
            return
        if sum(other == owner for other in self._owners.values()) >= self._most:
            raise ConnectionUnavailable(f"This API key has {self._most} WebSockets open, which is the limit")
        self._owners[id(context)] = owner

    def leave(self, context: object) -> None:
        """Count one less, if it was counted."""
        self._owners.pop(id(context), None)


class ConnectionUnavailable(Exception):
    """The client may not connect right now; the message says why."""


class WebSocketAdapter(ASGIWebSocketAdapter):
    """Strawberry's adapter, but a close reason never outgrows its frame, and neither closing twice nor a client that is
    gone already does any harm: whoever reads from the socket learns of that."""

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send the message, if the client is still there."""
        if self.ws.application_state is not WebSocketState.DISCONNECTED:
            with suppress(WebSocketDisconnected):
                await super().send_json(message)

    async def close(self, code: int, reason: str) -> None:
        """Close with `code` and `reason`, the reason cut to MAX_REASON_BYTES."""
        if self.ws.application_state is not WebSocketState.DISCONNECTED:
            with suppress(WebSocketDisconnect):
                await super().close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))


class TransportWsHandler(BaseGraphQLTransportWSHandler[Any, None]):
    """Strawberry's handler, but a message of the wrong shape closes the socket with 4400 instead of crashing it, and
    what is over a limit is refused."""

    _leave: Callable[[], None] | None = None

    async def handle_message(self, message: object) -> None:
        """Act on one decoded message, whatever its JSON type; a TooLarge is one that was not decoded."""
        if problem := misshapen(message):
            await self.handle_invalid_message(problem)
            return
        try:
            await super().handle_message(cast(Message, message))
        except ConnectionUnavailable as error:
            await self.websocket.close(code=TRY_AGAIN_LATER, reason=str(error))

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Let the client in, or not; say who may close the socket from then on."""
        await super().handle_connection_init(message)
        if self.connection_acknowledged and self._leave is None:
            self._leave = self.view.on_open(self.context, self.forbid)  # type: ignore[attr-defined]

    async def forbid(self) -> None:
        """End what is under way and close with 4403: what was shown in connection_init opens nothing any more."""
        for operation_id in list(self.operations):
            await self.cleanup_operation(operation_id)
        await self.websocket.close(code=4403, reason="Forbidden")

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Begin an operation, or refuse it alone where it is too long or one too many."""
        is_next = self.connection_acknowledged and message["id"] not in self.operations
        if is_next and (error := self._over_limit(message["payload"]["query"])):
            await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})
            return
        await super().handle_subscribe(message)

    async def shutdown(self) -> None:
        """End what is under way."""
        self.view.sockets.leave(self.context)  # type: ignore[attr-defined]
        if self._leave is not None:
            self._leave()
        await super().shutdown()

    def _over_limit(self, query: str) -> GraphQLError | None:
        most = self.max_subscriptions_per_connection
        if most is not None and len(self.operations) >= most:
            message = f"This WebSocket has {most} operations under way, which is the limit."
            return GraphQLError(message, extensions={"code": RequestErrorCode.LIMIT_EXCEEDED.value})
        try:
            check_length(query, self.view.limits.document_chars)  # type: ignore[attr-defined]
        except TooLarge as refusal:
            return presented(GraphQLError(str(refusal), original_error=refusal))
        return None


def misshapen(message: object) -> str | None:
    """What is wrong with the shape of a client's message, or None."""
    if isinstance(message, TooLarge):
        return str(message)
    if not isinstance(message, dict):
        return "A message must be a JSON object"
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in MESSAGE_TYPES:
        return "Unknown message type"
    if kind in ("subscribe", "complete") and not isinstance(message.get("id"), str):
        return "A message of this type must have an id, a string"
    if kind == "subscribe":
        return _misshapen_operation(message.get("payload"))
    return None


def _misshapen_operation(payload: object) -> str | None:
    if not isinstance(payload, dict):
        return "A subscribe message must have a payload, an object"
    if not isinstance(payload.get("query"), str):
        return "The payload must have a query, a string"
    if not isinstance(payload.get("variables"), dict | None):
        return "variables must be an object or null"
    if not isinstance(payload.get("operationName"), str | None):
        return "operationName must be a string or null"
    return None

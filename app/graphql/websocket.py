"""GraphQL over WebSocket, protocol graphql-transport-ws: what Strawberry takes on trust is checked here first."""

from typing import Any, cast

from starlette.websockets import WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message

MAX_REASON_BYTES = 123
"""A close reason shares a control frame of 125 bytes with its code: RFC 6455 section 5.5."""

MESSAGE_TYPES = {"connection_init", "ping", "pong", "subscribe", "complete"}


TRY_AGAIN_LATER = 1013
"""A close code (IANA's registry of RFC 6455 section 11.7) that clients take as a reason to connect again."""


class ConnectionUnavailable(Exception):
    """Whether the client may connect cannot be said right now."""


class WebSocketAdapter(ASGIWebSocketAdapter):
    """Strawberry's adapter, but a close reason never outgrows its frame and closing twice does no harm."""

    async def close(self, code: int, reason: str) -> None:
        """Close with `code` and `reason`, the reason cut to MAX_REASON_BYTES."""
        if self.ws.application_state is not WebSocketState.DISCONNECTED:
            await super().close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))


class TransportWsHandler(BaseGraphQLTransportWSHandler[Any, None]):
    """Strawberry's handler, but a message of the wrong shape closes the socket with 4400 instead of crashing it."""

    async def handle_message(self, message: object) -> None:
        """Act on one decoded message, whatever its JSON type."""
        if problem := misshapen(message):
            await self.handle_invalid_message(problem)
            return
        try:
            await super().handle_message(cast(Message, message))
        except ConnectionUnavailable:
            await self.websocket.close(code=TRY_AGAIN_LATER, reason="The database is not available right now")


def misshapen(message: object) -> str | None:
    """What is wrong with the shape of a client's message, or None."""
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

"""A response whose header section is encoded already: working it out takes longer than the rest of it."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Field = tuple[bytes, bytes]
Fields = Sequence[Field]


class EncodedResponse(Response):
    """The response with these header fields, as they go out."""

    def __init__(self, body: bytes, status: int, fields: list[Field]) -> None:
        self.status_code = status
        self.body = body
        self.raw_headers = fields

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def answer(body: bytes, status: int, *fields: Fields) -> Response:
    """The response with these header fields, and its length."""
    header: list[Field] = []
    for some in fields:
        header += some
    header.append((b"content-length", b"%d" % len(body)))
    return EncodedResponse(body, status, header)


def encoded(header: Mapping[str, str]) -> Fields:
    """The fields as they go out."""
    return tuple((name.lower().encode(), value.encode()) for name, value in header.items())

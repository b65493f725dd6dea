"""A response whose header section is encoded already: working it out takes longer than the rest of it."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Field = tuple[bytes, bytes]
Fields = Sequence[Field]
Names = tuple[bytes, ...]

WHOLE = "heliograph.response"
"""An ASGI extension, and the type of its message: a whole response, with its `status`, its `header` and its `body`."""


class Header(Struct, eq=False):
    """The names of header fields, which are the same in many answers, and the values. Iterates over the fields."""

    names: Names
    values: Sequence[bytes]

    def __iter__(self) -> Iterator[Field]:
        return zip(self.names, self.values, strict=True)

    def add(self, name: bytes, value: bytes) -> None:
        """One more field."""
        self.names, self.values = (*self.names, name), (*self.values, value)


class EncodedResponse(Response):
    """The response with this header, as it goes out: in one message where the server takes that."""

    def __init__(self, body: bytes, status: int, header: Header) -> None:
        self.status_code = status
        self.body = body
        self.header = header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if WHOLE in scope.get("extensions", ()):
            await send({"type": WHOLE, "status": self.status_code, "header": self.header, "body": self.body})
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": [*self.header]})
        await send({"type": "http.response.body", "body": self.body})


def answer(body: bytes, status: int, names: Names, values: Sequence[bytes]) -> EncodedResponse:
    """The response with these header fields, and its length."""
    return EncodedResponse(body, status, Header((*names, b"content-length"), (*values, b"%d" % len(body))))


def encoded(header: Mapping[str, str]) -> Header:
    """The fields as they go out."""
    return Header(
        tuple([name.lower().encode() for name in header]), tuple([value.encode() for value in header.values()])
    )

"""A response whose header section is encoded already: working it out takes longer than the rest of it."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

Fields = Sequence[tuple[bytes, bytes]]


def answer(body: bytes, status: int, *fields: Fields) -> Response:
    """The response with these header fields, and its length."""
    response = Response(status_code=status)
    response.body = body
    response.raw_headers = [field for each in fields for field in each]
    response.raw_headers.append((b"content-length", b"%d" % len(body)))
    return response


def encoded(header: Mapping[str, str]) -> Fields:
    """The fields as they go out."""
    return tuple((name.lower().encode(), value.encode()) for name, value in header.items())

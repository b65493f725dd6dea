"""Requests as ASGI hands them over, and the drafts that they ask for."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.types import Message

from app.mail.draft import Draft
from app.rest.request_body import read_request_draft
from app.settings import Settings

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"

Part = tuple[str, str | bytes]


async def asked(body: bytes = b"", content_type: str | None = None, query: str = "", **settings: object) -> Draft:
    """The draft of a request that arrives as a whole."""
    return await asked_in_chunks([body], content_type, query, **settings)


async def asked_in_chunks(
    chunks: Iterable[bytes], content_type: str | None, query: str = "", **settings: object
) -> Draft:
    """The draft of a request that arrives in these chunks."""
    pending = [*chunks]

    async def receive() -> Message:
        return {"type": "http.request", "body": pending.pop(0), "more_body": bool(pending)}

    headers = [] if content_type is None else [(b"content-type", content_type.encode("latin-1"))]
    scope = {"type": "http", "method": "POST", "headers": headers, "query_string": query.encode()}
    return await read_request_draft(Request(scope, receive), Settings.model_validate(settings))


def multipart(*parts: Part) -> bytes:
    """The body of a form. A part is its Content-Disposition after `form-data; `, or all of its header lines, and what
    is in it."""
    octets = bytearray()
    for header, content in parts:
        lines = header if header.lower().startswith("content-") else f"Content-Disposition: form-data; {header}"
        inside = content.encode() if isinstance(content, str) else content
        octets += b"--XX\r\n" + lines.encode() + b"\r\n\r\n" + inside + b"\r\n"
    return bytes(octets) + b"--XX--\r\n"


def file_part(field: str, name: str, content_type: str | None = None) -> str:
    """The header lines of a part that is a file."""
    lines = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
    return lines if content_type is None else f"{lines}\r\nContent-Type: {content_type}"

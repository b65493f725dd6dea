"""The body of a request, in every form that clients send, as one mapping of fields, and the files."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any

from starlette.requests import Request

from app.errors import InvalidInput, Problem, TooLarge
from app.indexed import first_fields
from app.json_body import JsonBody, WholeBody, whole_body
from app.json_text import TooDeep
from app.mail.draft import Attachment, Draft
from app.mail.nesting import is_deeper
from app.rest.body import read_draft
from app.rest.form import nest, read_pairs, too_deep
from app.rest.multipart import read_multipart
from app.rest.usual_body import USUAL_DEPTH, read_usual_draft
from app.settings import Settings
from app.spool import Spooling

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_TEMPLATE = ("template", "template_id")

_VISIBLE = re.compile(rb"[^ \t\r\n]")

# Parsing a body up to this size takes less than handing it to a thread and back.
_PARSED_AT_ONCE = 64 * 1024


async def read_request_draft(request: Request, settings: Settings) -> Draft:
    """The draft that the request asks for: JSON, a form, a form with files, or without a body the query.

    Raises InvalidInput with all that is wrong, TooLarge as soon as a limit is passed, Unavailable,
    ClientDisconnect.
    """
    fields = first_fields(request.scope)
    content_type = fields.get(b"content-type", b"")
    media_type = _media_type(content_type)
    if media_type == _MULTIPART:
        return await _read_multipart(request, content_type.decode("latin-1"), settings)
    limit, most = settings.max_body_bytes, settings.spool_over
    _refuse_announced(fields, limit)
    message = await request.receive()
    body: WholeBody | JsonBody | None = whole_body(message, most if most < limit else limit)
    if body is None:
        body = JsonBody(Spooling.of(settings), lambda octets: not _is_form(octets, media_type))
        await body.read(message, request.receive, limit)
    query: bytes = request.scope["query_string"]
    if body.size <= _PARSED_AT_ONCE:
        return _read(body, media_type, query, settings)
    return await asyncio.to_thread(_read, body, media_type, query, settings)


@lru_cache(maxsize=64)
def _media_type(content_type: bytes) -> str:
    return content_type.decode("latin-1").partition(";")[0].strip().lower()


async def _read_multipart(request: Request, content_type: str, settings: Settings) -> Draft:
    async with aclosing(_limited(request, settings.max_body_bytes)) as chunks:
        form = await read_multipart(content_type, chunks, settings)

    def read() -> Draft:
        fields = _nested(form.pairs, settings) if form.pairs or form.files else None
        return _draft(fields, form.files, request.scope["query_string"], settings)

    size = sum(len(value) for _, value in form.pairs)
    return read() if size <= _PARSED_AT_ONCE else await asyncio.to_thread(read)


def _refuse_announced(fields: Mapping[bytes, bytes], limit: int) -> None:
    """Before anything is read of a body that announces to be larger."""
    announced = fields.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > limit:
        raise _too_large(limit)


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, up to the limit."""
    _refuse_announced(first_fields(request.scope), limit)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        yield chunk


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {limit} bytes.")


def _is_form(octets: bytes | bytearray, media_type: str) -> bool:
    """Whether it is a form, as far as its type and its beginning tell: for some clients JSON has no type."""
    first = _VISIBLE.search(octets)
    return media_type in ("", _FORM) and (first is None or first[0] != b"{")


def _read(body: WholeBody | JsonBody, media_type: str, query: bytes, settings: Settings) -> Draft:
    octets = body.document
    # What is shorter has no more values.
    is_bounded = len(octets) < settings.max_json_values and settings.max_json_depth >= USUAL_DEPTH
    draft = read_usual_draft(octets) if is_bounded and not query and isinstance(octets, bytes) else None
    if draft is not None:
        return draft
    fields = _fields(body, media_type, settings)
    is_flat = octets.startswith(b"{") and _brackets(octets) <= settings.max_json_depth
    return _draft(fields, (), query, settings, may_be_deep=bool(query) or not is_flat)


def _brackets(octets: bytes | bytearray) -> int:
    """How many there are; JSON is no deeper. To take them out is quick where they are few: to count them is not."""
    return 2 * len(octets) - len(octets.replace(b"{", b"")) - len(octets.replace(b"[", b""))


def _fields(body: WholeBody | JsonBody, media_type: str, settings: Settings) -> dict[str, Any] | None:
    """The fields of a body that is JSON or a form; None where it is empty."""
    octets = body.document
    if not octets.startswith(b"{"):
        if _VISIBLE.search(octets) is None:
            return None
        if _is_form(octets, media_type):
            return _nested(read_pairs(octets, "form", settings.max_form_fields), settings)
    try:
        parsed = body.parse(settings.max_json_values)
    except TooDeep:
        raise InvalidInput(f"The JSON must be at most {settings.max_json_depth} levels deep.") from None
    except ValueError:
        raise InvalidInput("Invalid or malformed JSON.") from None
    if not isinstance(parsed, dict):
        raise InvalidInput("No valid data in request. The body must be a JSON object.")
    return parsed


def _nested(pairs: Sequence[tuple[str, str]], settings: Settings) -> dict[str, Any]:
    return nest(pairs, settings.max_json_depth, settings.max_json_values)


def _draft(
    body: dict[str, Any] | None,
    files: tuple[Attachment, ...],
    query: bytes,
    settings: Settings,
    *,
    may_be_deep: bool = True,
) -> Draft:
    if body is not None and not body and not files:
        raise InvalidInput("No valid data in request.")
    fields = _with_query(body, query, settings) if query else body or {}
    if may_be_deep:
        _refuse_deep(fields, settings.max_json_depth)
    return read_draft(fields, files)


def _refuse_deep(fields: Mapping[str, Any], most: int) -> None:
    problems: list[Problem] = []
    for name, value in fields.items():
        if is_deeper(value, most):
            problems += too_deep(name, most).problems
    if problems:
        raise InvalidInput(problems=problems)


def _with_query(body: Mapping[str, Any] | None, octets: bytes, settings: Settings) -> Mapping[str, Any]:
    """The body's fields, else the query's. Beside a body the query names a template only, if the body names none.

    An API key that came by the query is no field, wherever else it stands.
    """
    query = _nested(read_pairs(octets, "query", settings.max_form_fields), settings)
    fields = query if body is None else body
    if body is not None and not any(body.get(name) for name in _TEMPLATE):
        fields = {**body, **{name: query[name] for name in _TEMPLATE if name in query}}
    return {name: value for name, value in fields.items() if name != "api_key"} if "api_key" in query else fields

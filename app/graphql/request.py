"""One GraphQL request out of one HTTP request, or an HttpError that says why not.

The rules are those of GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/).
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct
from starlette.datastructures import Headers
from starlette.requests import Request

from app.errors import ErrorCode, TooLarge
from app.graphql.errors import RequestErrorCode
from app.indexed import first_fields
from app.json_body import JsonBody, WholeBody, whole_body
from app.json_text import TooDeep, parse_json
from app.settings import Settings
from app.spool import Spooling

JSON = "application/json"
GRAPHQL_RESPONSE_JSON = "application/graphql-response+json"
_USUAL_TYPE = JSON.encode()

# Parsing a body up to this size takes less than handing it to a thread and back.
_PARSED_AT_ONCE = 64 * 1024

# Clients send few of these, and none of them is long: what they mean is worked out once.
_SHORT_ACCEPT = 200

_OPTIONAL = (("operationName", str, "a string"), ("variables", dict, "an object"), ("extensions", dict, "an object"))

_QUALITY = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
_CHARSET = re.compile(r'charset="?([^";\s]*)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The most that is read of one request, before anything is made of it."""

    body_bytes: int = 40 * 1024 * 1024
    url_chars: int = 64 * 1024
    json_values: int = 20_000
    document_chars: int = 50_000
    spooling: Spooling = field(default_factory=Spooling)

    @classmethod
    def from_settings(cls, settings: Settings) -> "RequestLimits":
        """The limits as the operator set them."""
        return cls(
            body_bytes=settings.max_body_bytes,
            url_chars=settings.graphql_max_url_chars,
            json_values=settings.max_json_values,
            document_chars=settings.graphql_max_document_chars,
            spooling=Spooling.of(settings),
        )


class HttpError(Exception):
    """The HTTP request is not a GraphQL request that this server takes."""

    def __init__(
        self,
        status: HTTPStatus,
        code: RequestErrorCode | ErrorCode,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class GraphQLRequest(Struct, frozen=True):
    """The parameters of a well-formed request. Query and variables may hold secrets and stay out of the repr."""

    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"GraphQLRequest(operation_name={self.operation_name!r})"


def response_type(headers: Headers) -> str:
    """The media type to answer in, by Accept: RFC 9110 section 12.5.1. Raises HttpError 406.

    Of two types wanted equally the one named first wins; no Accept, `*/*` and `application/*` mean application/json.
    """
    accept = ",".join(headers.getlist("accept"))
    best = _best_type_cached(accept) if len(accept) <= _SHORT_ACCEPT else _best_type(accept)
    if best is None:
        raise HttpError(
            HTTPStatus.NOT_ACCEPTABLE,
            RequestErrorCode.NOT_ACCEPTABLE,
            f"This endpoint answers in {GRAPHQL_RESPONSE_JSON} or in {JSON}.",
        )
    return best


def wants_html(headers: Headers) -> bool:
    """Whether Accept names text/html, as a browser's does and `*/*` does not."""
    return _media_ranges(",".join(headers.getlist("accept"))).get("text/html", 0) > 0


async def read_request(request: Request, limits: RequestLimits) -> GraphQLRequest:
    """The GraphQL request in the URL of a GET, or in the body of a POST. Raises HttpError 400, 413, 414 or 415,
    TooLarge and Unavailable."""
    if request.scope["method"] != "POST":
        return parse_url(request.scope["query_string"], limits)
    fields = first_fields(request.scope)
    if fields.get(b"content-type") != _USUAL_TYPE or b"content-encoding" in fields:
        _check_content_type(request.headers)
    announced = fields.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > limits.body_bytes:
        raise _too_large(limits.body_bytes)
    message = await request.receive()
    body: WholeBody | JsonBody | None = whole_body(message, min(limits.body_bytes, limits.spooling.over))
    if body is None:
        body = JsonBody(limits.spooling)
        try:
            await body.read(message, request.receive, limits.body_bytes)
        except TooLarge:
            raise _too_large(limits.body_bytes) from None
    if body.size <= _PARSED_AT_ONCE:
        return _parse_body(body, limits)
    return await asyncio.to_thread(_parse_body, body, limits)


def _parse_body(body: WholeBody | JsonBody, limits: RequestLimits) -> GraphQLRequest:
    try:
        parameters = body.parse(limits.json_values, files_anywhere=True)
    except (ValueError, TooDeep):
        raise _bad_request("The body is not JSON in UTF-8, or nests too deeply.") from None
    if not isinstance(parameters, dict):
        raise _bad_request('The body must be one JSON object, such as {"query": "{ __typename }"}.')
    return _request(parameters, limits)


def parse_url(query_string: bytes, limits: RequestLimits) -> GraphQLRequest:
    """The GraphQL request in the part of a URL after `?`. Raises HttpError 400, 413 or 414, and TooLarge."""
    if len(query_string) > limits.url_chars:
        message = f"The part of the URL after ? is over the limit of {limits.url_chars} characters; send it by POST."
        raise HttpError(HTTPStatus.REQUEST_URI_TOO_LONG, ErrorCode.TOO_LARGE, message)
    try:
        pairs = parse_qsl(query_string.decode("ascii"), errors="strict")
    except ValueError:
        raise _bad_request("The part of the URL after ? is not URL-encoded UTF-8.") from None
    parameters: dict[str, Any] = dict(pairs)
    if len(parameters) < len(pairs):
        raise _bad_request("A parameter of the URL is given twice.")
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = _parse_parameter(name, parameters[name], limits)
    return _request(parameters, limits)


def check_length(query: str, document_chars: int) -> None:
    """Raises TooLarge where the document has more characters: reading it would keep everyone else waiting."""
    if len(query) > document_chars:
        raise TooLarge(
            f"The document has {len(query)} characters; the limit is {document_chars}."
            " Large values belong in variables.",
            field=("query",),
        )


def _request(parameters: Mapping[str, Any], limits: RequestLimits) -> GraphQLRequest:
    query = parameters.get("query")
    if not isinstance(query, str) or not query:
        raise _bad_request("`query` must be a string that is not empty.")
    check_length(query, limits.document_chars)
    for name, kind, said in _OPTIONAL:
        value = parameters.get(name)
        if value is not None and not isinstance(value, kind):
            raise _bad_request(f"`{name}` must be {said} or null.")
    return GraphQLRequest(
        query, parameters.get("operationName"), parameters.get("variables"), parameters.get("extensions")
    )


def _parse_parameter(name: str, text: str, limits: RequestLimits) -> Any:
    try:
        return parse_json(text.encode(), limits.json_values)
    except (ValueError, TooDeep):
        raise _bad_request(f"`{name}` is not JSON, or nests too deeply.") from None


def _best_type(accept: str) -> str | None:
    accepted = _media_ranges(accept) or {"*/*": 1.0}
    named = list(accepted)
    best = max(
        (JSON, GRAPHQL_RESPONSE_JSON),
        key=lambda offer: (_quality(accepted, offer), -named.index(offer) if offer in named else -len(named)),
    )
    return best if _quality(accepted, best) else None


_best_type_cached = lru_cache(maxsize=128)(_best_type)


def _media_ranges(accept: str) -> dict[str, float]:
    """Each media range of Accept with its quality, in the order given; parameters other than q are passed over."""
    ranges: dict[str, float] = {}
    for item in accept.split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        if media_range:
            quality = next((match[1] for part in parameters if (match := _QUALITY.fullmatch(part))), "1")
            ranges.setdefault(media_range.lower(), float(quality))
    return ranges


def _quality(accepted: Mapping[str, float], media_type: str) -> float:
    return next((accepted[name] for name in (media_type, "application/*", "*/*") if name in accepted), 0)


def _check_content_type(headers: Headers) -> None:
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    charset = _CHARSET.search(parameters)
    if media_type.strip().lower() != JSON or (charset and charset[1].lower() not in ("utf-8", "utf8")):
        raise _unsupported(f"Send the request as {JSON} in UTF-8.", {"Accept-Post": JSON})
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _unsupported("Send the body uncompressed.", {"Accept-Encoding": "identity"})


def _bad_request(message: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, RequestErrorCode.BAD_REQUEST, message)


def _unsupported(message: str, headers: Mapping[str, str]) -> HttpError:
    return HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, RequestErrorCode.UNSUPPORTED_MEDIA_TYPE, message, headers)


def _too_large(max_body_bytes: int) -> HttpError:
    # The rest of the body is not read, so the connection cannot carry another request: RFC 9110 section 15.5.14.
    return HttpError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ErrorCode.TOO_LARGE,
        f"The body is over the limit of {max_body_bytes} bytes.",
        {"Connection": "close"},
    )

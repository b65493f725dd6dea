"""The error envelope: always the same four keys."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil

from starlette.responses import JSONResponse

from app.answer import Fields
from app.errors import ErrorCode, Problem, RateLimited, Refusal

logger = logging.getLogger(__name__)

STATUS: Mapping[ErrorCode, int] = {
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.INVALID_API_KEY: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.ROLE_INACTIVE: 403,
    ErrorCode.SERVICE_INACTIVE: 403,
    ErrorCode.SERVICE_NOT_FOUND: 404,
    ErrorCode.TEMPLATE_NOT_FOUND: 404,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.NAME_TAKEN: 409,
    ErrorCode.IN_USE: 409,
    ErrorCode.WRONG_STATE: 409,
    ErrorCode.MANAGED_BY_ENVIRONMENT: 409,
    ErrorCode.IDEMPOTENCY_CONFLICT: 409,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
}

_NAMES = {"text": "body_text", "html": "body_html", "idempotency_key": "Idempotency-Key"}
"""Fields of a Draft that have another name on this route."""

LIMIT_NAMES = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")


def error_response(
    status: int,
    message: str,
    context: Mapping[str, object] | None = None,
    *,
    code: int | None = None,
    headers: Mapping[str, str] | None = None,
    fields: Fields = (),
) -> JSONResponse:
    """The envelope. `code` is the SMTP reply code where there is one, else the HTTP status. `fields`: more of the
    header, as they go out."""
    error = {
        "code": code or status,
        "context": dict(context) if context else None,
        "message": message,
        "status_code": status,
    }
    response = JSONResponse({"error": error}, status_code=status, headers=dict(headers or {}))
    response.raw_headers += fields
    return response


def refusal_response(refusal: Refusal) -> JSONResponse:
    """The first problem in the four keys; when there are several, all of them in the context."""
    first, *others = refusal.problems
    status = STATUS.get(first.code, 400)
    context: dict[str, object] = {"error_code": first.code.value}
    if first.field:
        context["field"] = _field(first)
    if first.retryable:
        context |= {"retryable": True, "retry_after": first.retry_after}
    if others:
        context["problems"] = [_problem(problem) for problem in refusal.problems]
    headers = {"Retry-After": str(first.retry_after)} if first.retryable else {}
    if status == 401:  # RFC 9110 section 15.5.2: it names a scheme to authenticate with
        headers["WWW-Authenticate"] = "Bearer"
    fields: Fields = ()
    if isinstance(refusal, RateLimited):
        stands = limit_values(refusal.limit, refusal.remaining, refusal.reset_at)
        fields = list(zip(LIMIT_NAMES, stands, strict=False))
    return error_response(status, first.message, context, headers=headers, fields=fields)


def limit_values(limit: int, remaining: int, reset_at: datetime | None) -> Sequence[bytes]:
    """How one rate limit stands, for as many of LIMIT_NAMES; the reset in seconds since 1970, rounded up."""
    if reset_at is None:
        return b"%d" % limit, b"%d" % remaining
    return b"%d" % limit, b"%d" % remaining, b"%d" % ceil(reset_at.timestamp())


def unexpected_response(error: Exception) -> JSONResponse:
    """Says nothing of the error but an id, under which the log has it."""
    error_id = secrets.token_hex(8)
    logger.error("unexpected error %s", error_id, exc_info=error)
    return error_response(500, f"Internal error. Its id is {error_id}.", {"error_id": error_id})


def _problem(problem: Problem) -> dict[str, object]:
    return {"error_code": problem.code.value, "field": _field(problem), "message": problem.message}


def _field(problem: Problem) -> str:
    first, *below = problem.field or ("",)
    return ".".join((_NAMES.get(first, first), *below))

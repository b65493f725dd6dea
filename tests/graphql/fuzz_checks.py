"""What schemathesis holds every GraphQL answer against; loaded into its process."""

from typing import Any

import schemathesis

from app.errors import ErrorCode
from app.graphql.errors import RequestErrorCode

# A literal may be a wrong DateTime, and a query may be over the limits: the schema cannot say so.
_BEYOND_THE_SCHEMA = {RequestErrorCode.BAD_USER_INPUT.value, RequestErrorCode.LIMIT_EXCEEDED.value}
_INVALID = {RequestErrorCode.VALIDATION_FAILED.value}
# "May be left out, must not be null" is another thing that a schema cannot say.
_NOT_NULL = "cannot be explicitly set to null"
_REFUSED = {code.value for code in ErrorCode if code is not ErrorCode.INTERNAL}


@schemathesis.check
def is_answered(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
    """A query that is valid by the schema is carried out, or refused with a code that says why."""
    assert response.status_code == 200, response.text
    assert _codes(response) <= _REFUSED | _expected(case), response.text


@schemathesis.check
def is_unauthenticated(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """Without an API key nothing is carried out and nothing is shown."""
    data = response.json().get("data") or {}
    assert set(data.values()) <= {None}, response.text
    assert response.json().get("errors"), response.text
    assert _codes(response) <= {ErrorCode.UNAUTHENTICATED.value} | _expected(case), response.text


def _codes(response: schemathesis.Response) -> set[str]:
    errors = response.json().get("errors", ())
    return {error["extensions"]["code"] for error in errors if _NOT_NULL not in error["message"]}


def _expected(case: schemathesis.Case[Any]) -> set[str]:
    """What it is no fault of ours to answer: schemathesis breaks some queries on purpose."""
    is_broken = case.meta is not None and case.meta.generation.mode.is_negative
    return _BEYOND_THE_SCHEMA | (_INVALID if is_broken else set())

"""What of an exception a GraphQL client may see.

A refusal shows its code and its sentence. A fault of the client (syntax, validation, coercion) shows what is wrong.
Anything else is a bug of ours: the client gets an id, the log gets the same id and the traceback.
"""

import logging
from collections.abc import Iterable, Mapping
from enum import StrEnum
from secrets import token_hex
from typing import Any

import strawberry
from graphql import FieldNode, GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.types import ExecutionContext

from app.database.connection import is_transient
from app.database.trouble import log_trouble
from app.errors import ErrorCode, Problem, Refusal, Unavailable, accepted_unseen
from app.graphql.secrets import secrets_in, without_secrets

logger = logging.getLogger(__name__)

INTERNAL_MESSAGE = "Internal error."
UNAVAILABLE = Unavailable().problems[0]


class RequestErrorCode(StrEnum):
    """Codes of requests that never reached a resolver; the other codes are app.errors.ErrorCode."""

    PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    LIMIT_EXCEEDED = "OPERATION_LIMIT_EXCEEDED"
    OPERATION_UNKNOWN = "OPERATION_RESOLUTION_FAILURE"
    BAD_REQUEST = "BAD_REQUEST"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"


_MAY_SUGGEST = {RequestErrorCode.VALIDATION_FAILED, RequestErrorCode.BAD_USER_INPUT}


class MaskedSchema(strawberry.Schema):
    """A Strawberry schema whose errors are safe to show and whose log holds neither query text nor variables.

    With its configuration's `disable_field_suggestions` no error suggests a name, be it of a field, an argument, a type
    or a value of an enum.
    """

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Replace each error by what the client may see; log the unexpected ones, once, at ERROR.

        Where the context's attribute `carried_out` names mutations that are committed, every error says so.
        """
        carried_out: dict[str, str] = getattr(getattr(execution_context, "context", None), "carried_out", {})
        document, variables = (getattr(execution_context, name, None) for name in ("graphql_document", "variables"))
        secrets = secrets_in(document, variables)
        shown = [_without(secrets, presented(error)) for error in errors]
        if self.config.disable_field_suggestions:
            shown = [_without_suggestion(error) for error in shown]
        errors[:] = [_after(carried_out, error) for error in shown] if carried_out else shown

    def found_valid(self, context: ExecutionContext) -> None:
        """Told of every operation that is about to be run, unless its document is long."""


def presented(error: GraphQLError) -> GraphQLError:
    """The error as the client may see it: always with `extensions.code`. Presenting it twice changes nothing.

    Database trouble that passes becomes UNAVAILABLE, retryable. An unexpected exception is logged here and becomes
    "Internal error." with an `errorId`.
    """
    cause = _root_cause(error)
    if isinstance(cause, Refusal):
        return _coded(error, cause.problems[0].message, problem_extensions(cause.problems[0]))
    if is_transient(cause):
        log_trouble(logger, cause, "the database is in trouble")
        return _coded(error, UNAVAILABLE.message, problem_extensions(UNAVAILABLE))
    if isinstance(cause, CannotGetOperationTypeError):
        return _coded(error, cause.as_http_error_reason(), {"code": RequestErrorCode.OPERATION_UNKNOWN.value})
    if isinstance(cause, MissingQueryError):
        return _coded(error, str(cause), {"code": RequestErrorCode.BAD_REQUEST.value})
    if isinstance(cause, GraphQLError):
        if "code" in (error.extensions or {}):
            return error
        if code := _client_fault(error, cause):
            return _coded(error, error.message, {**(error.extensions or {}), "code": code.value})
    return _coded(error, INTERNAL_MESSAGE, log_internal(cause, path=error.path))


def unseen_extensions(carried_out: Mapping[str, str]) -> dict[str, Any]:
    """`extensions` of an answer that is not whole though these mutations are committed: id by response key."""
    return {"code": ErrorCode.UNAVAILABLE.value, "carriedOut": dict(carried_out)}


def problem_extensions(problem: Problem) -> dict[str, Any]:
    """`extensions` of one problem: its code, and its field and `retryable` where they say something."""
    extensions: dict[str, Any] = {"code": problem.code.value}
    if problem.field:
        extensions["field"] = list(problem.field)
    if problem.retryable:
        extensions["retryable"] = True
    return extensions


def log_internal(error: BaseException, *, path: list[str | int] | None = None) -> dict[str, Any]:
    """Log an unexpected exception under a new random id; the `extensions` that tell the client this id."""
    error_id = token_hex(8)
    where = ".".join(str(key) for key in path) if path else "the request"
    logger.error("internal error %s at %s", error_id, where, exc_info=_without_query_text(error))
    return {"code": ErrorCode.INTERNAL.value, "errorId": error_id}


def _without(secrets: Iterable[str], error: GraphQLError) -> GraphQLError:
    message = without_secrets(error.message, secrets)
    return error if message == error.message else _coded(error, message, error.extensions or {})


def _after(carried_out: Mapping[str, str], error: GraphQLError) -> GraphQLError:
    """Where null took their payloads away, it is the error that knows what became of them."""
    extensions = error.extensions or {}
    if extensions.get("code") == ErrorCode.UNAVAILABLE:
        return _coded(error, accepted_unseen(*carried_out.values()), unseen_extensions(carried_out))
    return _coded(error, error.message, {**extensions, "carriedOut": dict(carried_out)})


def _without_suggestion(error: GraphQLError) -> GraphQLError:
    extensions = error.extensions or {}
    if extensions.get("code") not in _MAY_SUGGEST:
        return error
    return _coded(error, error.message.partition(" Did you mean ")[0], extensions)


def _root_cause(error: GraphQLError) -> BaseException:
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _client_fault(error: GraphQLError, cause: GraphQLError) -> RequestErrorCode | None:
    if isinstance(cause, GraphQLSyntaxError):
        return RequestErrorCode.PARSE_FAILED
    if error.path is None:
        return RequestErrorCode.VALIDATION_FAILED if cause is error else RequestErrorCode.BAD_USER_INPUT
    # At a field, graphql-core blames an argument node for what the client sent, and a field node, or none,
    # for what our resolver returned.
    if cause.nodes and not any(isinstance(node, FieldNode) for node in cause.nodes):
        return RequestErrorCode.BAD_USER_INPUT
    return None


def _coded(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(message, error.nodes, error.source, error.positions, error.path, extensions=extensions)


def _without_query_text(error: BaseException) -> BaseException:
    """The exception to log: a GraphQLError prints the query it points into, so only its message is kept."""
    if not isinstance(error, GraphQLError):
        return error
    return RuntimeError(error.message).with_traceback(error.__traceback__)

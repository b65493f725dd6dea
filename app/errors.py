"""Every refusal, with its stable code, and what both doors say in their own forms: no status, no GraphQL in here.

    HeliographError
    ├── CommandFailed        a verb of the operator ends with this sentence and exit status 1
    └── Refusal              the request was understood, and the answer is no
        ├── InvalidInput     one or more fields are wrong; all of them are named at once
        ├── TooLarge         a field or the whole mail is over a limit
        ├── Unauthenticated  no API key, or not a valid one
        ├── Forbidden        the role may not do this
        ├── NotFound         the thing named does not exist (or may not be seen)
        ├── Conflict         it exists already, is in use, or the idempotency key was used for another request
        ├── RateLimited      a limit of the role, its grant or the API key has no room for it
        └── Unavailable      nothing is wrong with the request; try again later
            └── Stopped      the server stopped in the middle of it: look first what became of it

A refusal carries `problems`: each one has a code, a sentence, the path of the field, and whether
repeating the same request later can succeed, and when. Both doors render the same problems.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

RETRY_AFTER_SECONDS = 5
"""When what was refused for now is worth another try."""


class ErrorCode(StrEnum):
    """Stable codes, shared by GraphQL and REST. A code is never renamed once released."""

    INVALID_INPUT = "INVALID_INPUT"
    INVALID_EMAIL = "INVALID_EMAIL"
    NO_RECIPIENTS = "NO_RECIPIENTS"
    NO_SENDER = "NO_SENDER"
    NO_BODY = "NO_BODY"
    MISSING_VARIABLE = "MISSING_VARIABLE"
    TOO_LARGE = "TOO_LARGE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    INVALID_API_KEY = "INVALID_API_KEY"
    FORBIDDEN = "FORBIDDEN"
    ROLE_INACTIVE = "ROLE_INACTIVE"
    SERVICE_INACTIVE = "SERVICE_INACTIVE"
    SERVICE_NOT_FOUND = "SERVICE_NOT_FOUND"
    TEMPLATE_NOT_FOUND = "TEMPLATE_NOT_FOUND"
    NOT_FOUND = "NOT_FOUND"
    NAME_TAKEN = "NAME_TAKEN"
    IN_USE = "IN_USE"
    WRONG_STATE = "WRONG_STATE"
    MANAGED_BY_ENVIRONMENT = "MANAGED_BY_ENVIRONMENT"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    RATE_LIMITED = "RATE_LIMITED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `field` is the path from the input's root, e.g. ("to", "0", "email"); `retry_after`:
    after how many seconds it is worth another try, where it is `retryable`."""

    code: ErrorCode
    message: str
    field: tuple[str, ...] = ()
    retryable: bool = False
    retry_after: int = RETRY_AFTER_SECONDS

    def under(self, *path: str) -> "Problem":
        """The same problem, its field path prefixed with `path`."""
        return replace(self, field=(*path, *self.field))


class HeliographError(Exception):
    """The root of everything Heliograph raises on purpose."""


class CommandFailed(HeliographError):
    """Ends a verb of the operator with this message and exit status 1."""


class Refusal(HeliographError):
    """The answer is no; `problems` (never empty) say why."""

    code = ErrorCode.INVALID_INPUT

    def __init__(
        self,
        message: str | None = None,
        *,
        code: ErrorCode | None = None,
        field: tuple[str, ...] = (),
        retryable: bool = False,
        problems: Iterable[Problem] = (),
    ) -> None:
        listed = tuple(problems)
        if message is not None:
            listed = (Problem(code or self.code, message, field, retryable), *listed)
        if not listed:
            raise ValueError("a refusal names at least one problem")
        self.problems = listed
        super().__init__("; ".join(problem.message for problem in listed))


class InvalidInput(Refusal):
    """One or more fields are wrong; all of them are named at once."""


class TooLarge(Refusal):
    """A field or the whole mail is over a limit, which the message names."""

    code = ErrorCode.TOO_LARGE


class Unauthenticated(Refusal):
    """No API key was given, or it is unknown, expired or revoked."""

    code = ErrorCode.UNAUTHENTICATED


class Forbidden(Refusal):
    """The role may not do this; the message says which rule."""

    code = ErrorCode.FORBIDDEN


class NotFound(Refusal):
    """The thing named does not exist, or may not be seen by this role."""

    code = ErrorCode.NOT_FOUND


class Conflict(Refusal):
    """It exists already, is in use, or an idempotency key was used for another request."""

    code = ErrorCode.IN_USE


class RateLimited(Refusal):
    """A limit has no room for all of it, which the message names; nothing was counted.

    `remaining` of `limit` are free; `reset_at`: when there is room for it, `retry_after` seconds from now. Both are
    None where the limit is smaller than what was asked for.
    """

    code = ErrorCode.RATE_LIMITED

    def __init__(
        self,
        message: str,
        *,
        limit: int,
        remaining: int,
        reset_at: datetime | None = None,
        retry_after: int | None = None,
    ) -> None:
        retryable = retry_after is not None
        super().__init__(problems=[Problem(self.code, message, (), retryable, retry_after or RETRY_AFTER_SECONDS)])
        self.limit = limit
        self.remaining = remaining
        self.reset_at = reset_at


class Unavailable(Refusal):
    """Nothing is wrong with the request; the same request can succeed later."""

    code = ErrorCode.UNAVAILABLE

    def __init__(
        self, message: str = "The database is not available right now. Try again soon.", *, retryable: bool = True
    ) -> None:
        super().__init__(message, retryable=retryable)


class Stopped(Unavailable):
    """The request was broken off, and nobody knows how far it came: not to be repeated blindly."""

    def __init__(self) -> None:
        super().__init__(
            "The server stopped before it had the answer: the request may have been carried out, or not."
            " Look it up before you repeat it.",
            retryable=False,
        )


def accepted_unseen(*ids: str) -> str:
    """What to tell a client when something went wrong after these were accepted: whoever repeats that blindly does it
    twice."""
    return (
        f"Accepted: {', '.join(ids)}. The rest of the answer cannot be had right now. Look it up before you repeat it."
    )

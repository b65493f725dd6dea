"""What a role and an API key have to be like. Pure: values in, problems out.

A problem's field is the path as GraphQL names it: name, grants.0.actions, roleId.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from app.access.principal import Action
from app.access.raw_key import MAX_SUPPLIED_CHARS, MIN_SUPPLIED_CHARS, is_suppliable
from app.errors import ErrorCode, Problem
from app.limits.recipients import NO_LIMITS, RecipientLimits, check_limits
from app.mail.characters import shown, unstorable

MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 2000
_LATEST_EXPIRY = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class GrantValues:
    """`service` is a service's name in any case, or None for all services; `actions` are names of Action."""

    service: str | None
    actions: Collection[str]
    limits: RecipientLimits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class RoleValues:
    """A whole role, as given."""

    name: str
    description: str | None = None
    is_active: bool = True
    grants: tuple[GrantValues, ...] = ()
    limits: RecipientLimits = NO_LIMITS


def check_role(values: RoleValues, service_names: Collection[str]) -> tuple[Problem, ...]:
    """Everything that is wrong with a role; grants may name the services in `service_names` (in lower case)."""
    grants = (
        problem.under("grants", str(index))
        for index, grant in enumerate(values.grants)
        for problem in chain(_check_grant(grant, service_names), _check_repeated(grant, values.grants[:index]))
    )
    return (
        *_check_name(values.name),
        *_check_description(values.description),
        *check_limits(values.limits),
        *grants,
    )


def check_api_key(
    name: str,
    expires_at: datetime | None,
    raw_key: str | None,
    role_exists: bool,
    moment: datetime,
    limits: RecipientLimits = NO_LIMITS,
) -> tuple[Problem, ...]:
    """Everything that is wrong with an API key that is to be made at `moment`; `raw_key` is one chosen by people."""
    return (
        *_check_role_exists(role_exists),
        *_check_name(name),
        *_check_expiry(expires_at, moment),
        *_check_raw_key(raw_key),
        *check_limits(limits),
    )


def check_api_key_changes(name: str, limits: RecipientLimits) -> tuple[Problem, ...]:
    """Everything that is wrong with what can be changed of an API key."""
    return (*_check_name(name), *check_limits(limits))


def _check_name(name: str) -> Iterator[Problem]:
    if not 1 <= len(name.strip()) <= MAX_NAME_CHARS:
        yield _problem("name", f"A name has 1 to {MAX_NAME_CHARS} characters.")
    if not name.strip().isprintable():
        yield _problem("name", "A name has printable characters only.")


def _check_description(description: str | None) -> Iterator[Problem]:
    if len(description or "") > MAX_DESCRIPTION_CHARS:
        yield _problem("description", f"At most {MAX_DESCRIPTION_CHARS} characters are allowed.")
    if unstorable(description or ""):
        yield _problem("description", "Control characters are not allowed.")


def _check_grant(grant: GrantValues, service_names: Collection[str]) -> Iterator[Problem]:
    if grant.service is not None and grant.service.lower() not in service_names:
        message = f"Could not find a service for {shown(grant.service)}"
        yield Problem(ErrorCode.SERVICE_NOT_FOUND, message, ("service",))
    if not grant.actions:
        yield _problem("actions", "A grant needs at least one action.")
    if not set(grant.actions) <= set(Action):
        yield _problem("actions", f"The actions are {', '.join(Action)}.")
    yield from check_limits(grant.limits)


def _check_repeated(grant: GrantValues, earlier: Collection[GrantValues]) -> Iterator[Problem]:
    if granted_service(grant) in map(granted_service, earlier):
        yield _problem("service", "A role has one grant per service, and one for all services.")


def granted_service(grant: GrantValues) -> str | None:
    """The service's name as it is stored; None for all services."""
    return None if grant.service is None else grant.service.lower()


def _check_role_exists(role_exists: bool) -> Iterator[Problem]:
    if not role_exists:
        yield Problem(ErrorCode.NOT_FOUND, "There is no such role.", ("roleId",))


def _check_expiry(expires_at: datetime | None, moment: datetime) -> Iterator[Problem]:
    if expires_at is None:
        return
    if expires_at.tzinfo is None:
        yield _problem("expiresAt", "The time needs an offset from UTC.")
    elif not moment < expires_at < _LATEST_EXPIRY:
        yield _problem("expiresAt", "The time must be in the future, and before the year 9999.")


def _check_raw_key(raw_key: str | None) -> Iterator[Problem]:
    if raw_key is not None and not is_suppliable(raw_key):
        message = (
            f"An API key of one's own has {MIN_SUPPLIED_CHARS} to {MAX_SUPPLIED_CHARS} printable ASCII characters, "
            "and no space at either end."
        )
        yield _problem("apiKey", message)


def _problem(path: str, message: str) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, message, (path,))

"""What a role and an API key have to be like. Pure: values in, problems out.

A problem's field is the path as GraphQL names it: name, grants.0.actions, roleId.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Self
from uuid import UUID

from app.access.networks import canonical
from app.access.patterns import is_pattern, pattern_key
from app.access.principal import FOR_ALL_ONLY, Action
from app.access.raw_key import MAX_SUPPLIED_CHARS, MIN_SUPPLIED_CHARS, is_suppliable
from app.access.restrictions import NO_RESTRICTIONS, PATTERN_FIELDS, Restrictions
from app.errors import ErrorCode, InvalidInput, Problem
from app.limits.recipients import NO_LIMITS, RecipientLimits, check_limits
from app.mail.characters import shown, unstorable
from app.settings import Settings

MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 2000
_LATEST_EXPIRY = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class GrantValues:
    """`service` is a service's name in any case, or None for all services; `actions` are names of Action."""

    service: str | None
    actions: Collection[str]
    restrictions: Restrictions = NO_RESTRICTIONS
    limits: RecipientLimits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class RoleValues:
    """A whole role, as given."""

    name: str
    description: str | None = None
    is_active: bool = True
    grants: tuple[GrantValues, ...] = ()
    limits: RecipientLimits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class RoleLimits:
    """Sizes a grant must keep; both are settings."""

    max_grant_patterns: int = 100
    max_grant_templates: int = 100


_DEFAULT_LIMITS = RoleLimits()


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Sizes an API key must keep, and the seconds for which a secret that is rotated goes on working, unless told, and
    at most; all are settings."""

    max_networks: int = 100
    overlap: float = 24 * 3600
    max_overlap: float = 30 * 24 * 3600

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """As the operator set them."""
        return cls(settings.api_key_max_networks, settings.api_key_overlap, settings.api_key_max_overlap)


DEFAULT_KEY_LIMITS = KeyLimits()


def refuse(problems: tuple[Problem, ...]) -> None:
    """Raises InvalidInput with the problems, if there are any."""
    if problems:
        raise InvalidInput(problems=problems)


def check_role(
    values: RoleValues,
    service_names: Collection[str],
    template_ids: Collection[UUID] = (),
    limits: RoleLimits = _DEFAULT_LIMITS,
) -> tuple[Problem, ...]:
    """Everything that is wrong with a role; grants may name the services in `service_names` (in lower case), and the
    templates in `template_ids`."""
    grants = (
        problem.under("grants", str(index))
        for index, grant in enumerate(values.grants)
        for problem in chain(
            _check_grant(grant, service_names),
            _check_repeated(grant, values.grants[:index]),
            _check_restrictions(grant.restrictions, template_ids, limits),
        )
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
    networks: Sequence[str] = (),
    key_limits: KeyLimits = DEFAULT_KEY_LIMITS,
) -> tuple[Problem, ...]:
    """Everything that is wrong with an API key that is to be made at `moment`; `raw_key` is one chosen by people."""
    return (
        *_check_role_exists(role_exists),
        *_check_name(name),
        *_check_expiry(expires_at, moment),
        *_check_raw_key(raw_key),
        *check_limits(limits),
        *_check_networks(networks, key_limits.max_networks),
    )


def check_api_key_changes(
    name: str,
    limits: RecipientLimits,
    new_expiry: datetime | None,
    moment: datetime,
    networks: Sequence[str] = (),
    key_limits: KeyLimits = DEFAULT_KEY_LIMITS,
) -> tuple[Problem, ...]:
    """Everything that is wrong with what can be changed of an API key; an expiry that stays may be over."""
    return (
        *_check_name(name),
        *_check_expiry(new_expiry, moment),
        *check_limits(limits),
        *_check_networks(networks, key_limits.max_networks),
    )


def check_overlap(seconds: float, limits: KeyLimits) -> tuple[Problem, ...]:
    """What is wrong with how long a secret that is rotated shall go on working."""
    if 0 <= seconds <= limits.max_overlap:
        return ()
    return (_problem("overlapSeconds", f"The overlap is from 0 to {limits.max_overlap:g} seconds."),)


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
    if grant.service is not None and FOR_ALL_ONLY & set(grant.actions):
        yield _problem("actions", f"Only a grant for all services has {' and '.join(sorted(FOR_ALL_ONLY))}.")
    yield from check_limits(grant.limits)


def _check_repeated(grant: GrantValues, earlier: Collection[GrantValues]) -> Iterator[Problem]:
    if granted_service(grant) in map(granted_service, earlier):
        yield _problem("service", "A role has one grant per service, and one for all services.")


def _check_restrictions(
    restrictions: Restrictions, template_ids: Collection[UUID], limits: RoleLimits
) -> Iterator[Problem]:
    for name in PATTERN_FIELDS:
        kind, of = name.split("_")
        patterns: tuple[str, ...] = getattr(restrictions, name)
        path = f"{kind}{of.capitalize()}"
        yield from _check_patterns(path, patterns, limits.max_grant_patterns, loosely=kind == "denied")
    yield from _check_templates(restrictions.templates, template_ids, limits.max_grant_templates)
    required = restrictions.required_reply_to
    if required is not None and not is_pattern(required):
        yield _no_pattern("requiredReplyTo", text=required)


def _check_patterns(name: str, patterns: tuple[str, ...], most: int, loosely: bool) -> Iterator[Problem]:
    if len(patterns) > most:
        yield _too_many(name, len(patterns), most)
        return
    seen = set()
    for index, pattern in enumerate(patterns):
        if not is_pattern(pattern):
            yield _no_pattern(name, str(index), text=pattern)
            continue
        key = pattern_key(pattern, loosely=loosely)
        if key in seen:
            yield _problem(name, f"'{shown(pattern)}' is there twice.", str(index))
        seen.add(key)


def _check_templates(templates: tuple[UUID, ...], template_ids: Collection[UUID], most: int) -> Iterator[Problem]:
    if len(templates) > most:
        yield _too_many("templates", len(templates), most)
        return
    for index, template_id in enumerate(templates):
        path = ("templates", str(index))
        if template_id not in template_ids:
            yield Problem(ErrorCode.TEMPLATE_NOT_FOUND, "There is no such template.", path)
        elif template_id in templates[:index]:
            yield _problem("templates", "The template is there twice.", str(index))


def _no_pattern(*path: str, text: str) -> Problem:
    message = (
        f"'{shown(text)}' is no pattern of addresses such as ada@example.com, *@example.com, *@*.example.com or *."
    )
    return Problem(ErrorCode.INVALID_INPUT, message, path)


def _too_many(name: str, count: int, most: int) -> Problem:
    return Problem(ErrorCode.TOO_LARGE, f"{name} has {count} entries; the limit is {most}.", (name,))


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


def _check_networks(networks: Sequence[str], most: int) -> Iterator[Problem]:
    if len(networks) > most:
        yield _too_many("allowedNetworks", len(networks), most)
        return
    seen = set()
    for index, text in enumerate(networks):
        try:
            network = canonical(text)
        except ValueError as error:
            yield _problem("allowedNetworks", f"'{shown(text)}' {error}.", str(index))
            continue
        if network in seen:
            yield _problem("allowedNetworks", f"'{network}' is there twice.", str(index))
        seen.add(network)


def _check_raw_key(raw_key: str | None) -> Iterator[Problem]:
    if raw_key is not None and not is_suppliable(raw_key):
        message = (
            f"An API key of one's own has {MIN_SUPPLIED_CHARS} to {MAX_SUPPLIED_CHARS} printable ASCII characters, "
            "and no space at either end."
        )
        yield _problem("apiKey", message)


def _problem(path: str, message: str, *below: str) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, message, (path, *below))

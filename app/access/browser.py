"""What a browser key is bound to, how its row holds that, and what is wrong with it. Pure.

A browser key stands in a public page, so everybody has it. It only sends: mail made from the operator's templates, to
the operator's recipients, from pages of these origins, and only so much for each client address.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

from app.access.web_origin import canonical_origin
from app.errors import ErrorCode, Problem
from app.limits.recipients import NO_LIMITS, RecipientLimits, check_limits, columns_of, given_limits
from app.mail.address import check_email, mailbox_key
from app.mail.characters import shown

CLIENT = "client_"
"""What the names of the columns of limits per client address begin with."""

_RESTRICTIONS = frozenset({"templates", "recipients", "visitor_reply_to"})


@dataclass(frozen=True, slots=True)
class BrowserRules:
    """`recipients`: who gets all mail of the key; none: those of each template. `visitor_reply_to`: whether the page
    may say where replies go. `limits` count for each client address by itself."""

    origins: tuple[str, ...]
    templates: tuple[UUID, ...] = ()
    recipients: tuple[str, ...] = ()
    visitor_reply_to: bool = False
    limits: RecipientLimits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class BrowserLimits:
    """The most that the lists of a browser key may hold; settings."""

    max_origins: int = 20
    max_templates: int = 100
    max_recipients: int = 20


def canonical(rules: BrowserRules) -> BrowserRules:
    """The rules that passed the check, as they are stored."""
    return replace(rules, origins=tuple(canonical_origin(origin) or origin for origin in rules.origins))


def browser_columns(rules: BrowserRules | None) -> dict[str, Any]:
    """The rules as columns of an API key's row; all of them null for a key that is none for browsers."""
    limits = {CLIENT + name: limit for name, limit in columns_of(rules.limits if rules else NO_LIMITS).items()}
    if rules is None:
        return {"origins": None, "restrictions": None, **limits}
    restrictions = {
        "templates": [str(template_id) for template_id in rules.templates],
        "recipients": list(rules.recipients),
        "visitor_reply_to": rules.visitor_reply_to,
    }
    return {"origins": list(rules.origins), "restrictions": restrictions, **limits}


def browser_rules_of(columns: Mapping[str, Any]) -> BrowserRules | None:
    """The rules in a row's columns; None for a key that is none for browsers.

    Where a restriction is unknown, because a newer version wrote it, no origin is left that the key opens anything for.
    """
    if columns["origins"] is None and columns["restrictions"] is None:
        return None
    given = dict(columns["restrictions"] or {})
    limits = given_limits(columns, CLIENT)
    if given.keys() != _RESTRICTIONS or limits == NO_LIMITS:
        return BrowserRules(())
    templates = tuple(map(UUID, given["templates"]))
    return BrowserRules(
        tuple(columns["origins"] or ()), templates, tuple(given["recipients"]), given["visitor_reply_to"], limits
    )


def check_browser(rules: BrowserRules, templates: Mapping[UUID, bool], most: BrowserLimits) -> Iterator[Problem]:
    """Everything that is wrong; `templates` are those that exist, each with whether it has recipients of its own."""
    if not rules.origins:
        yield _problem("A browser key needs the origins of its pages.", "origins")
    yield from _entries("origins", rules.origins, most.max_origins, _check_origin)
    if not rules.templates:
        yield _problem("A browser key needs the templates that its mail is made from.", "templates")
    known = templates.keys()
    yield from _entries("templates", rules.templates, most.max_templates, lambda key: _check_template(key, known))
    yield from _entries("recipients", rules.recipients, most.max_recipients, _check_recipient)
    if not rules.recipients and not all(templates.get(template_id, True) for template_id in rules.templates):
        message = "A template has no recipients of its own: give it some, or the browser key."
        yield Problem(ErrorCode.NO_RECIPIENTS, message, ("recipients",))
    yield from _client_limits(rules)


_Entry = TypeVar("_Entry")


def _entries(
    field: str, entries: tuple[_Entry, ...], most: int, check: Callable[[_Entry], Problem | Hashable]
) -> Iterator[Problem]:
    """What is wrong with each entry; `check` tells, or answers with what is equal for two spellings of one."""
    if len(entries) > most:
        yield Problem(ErrorCode.TOO_LARGE, f"{field} has {len(entries)} entries; the limit is {most}.", (field,))
        return
    seen: set[Hashable] = set()
    for index, entry in enumerate(entries):
        found = check(entry)
        if isinstance(found, Problem):
            yield replace(found, field=(field, str(index)))
        elif found in seen:
            yield _problem("This entry is there twice.", field, str(index))
        seen.add(found)


def _check_origin(origin: str) -> Problem | Hashable:
    message = (
        f"'{shown(origin)}' is no origin such as https://example.com or https://example.com:8443: without a path or *."
        " http:// is for pages on this machine only (localhost, 127.0.0.1, [::1])."
    )
    return canonical_origin(origin) or _problem(message)


def _check_template(template_id: UUID, known: Collection[UUID]) -> Problem | Hashable:
    return template_id if template_id in known else Problem(ErrorCode.TEMPLATE_NOT_FOUND, "There is no such template.")


def _check_recipient(email: str) -> Problem | Hashable:
    return check_email(email) or mailbox_key(email)


def _client_limits(rules: BrowserRules) -> Iterator[Problem]:
    path = "limitsPerClientAddress"
    if rules.limits == NO_LIMITS:
        yield _problem("A browser key needs a limit for each client address.", path)
    for problem in check_limits(rules.limits):
        yield Problem(problem.code, problem.message, (path, *problem.field[1:]))


def _problem(message: str, *path: str) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, message, path)

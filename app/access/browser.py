"""What a browser key is bound to, how its row holds that, and what is wrong with it. Pure.

A browser key stands in a public page, so everybody has it. It only sends: mail made from the operator's templates, to
the operator's recipients, from pages of these origins, and only so much for each client address.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
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
    origins = (canonical_origin(origin) or origin for origin in rules.origins)
    return BrowserRules(tuple(origins), rules.templates, rules.recipients, rules.visitor_reply_to, rules.limits)


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
    yield from _count("origins", rules.origins, most.max_origins, "A browser key needs the origins of its pages.")
    yield from _each("origins", rules.origins, _origin_key, _NO_ORIGIN)
    message = "A browser key needs the templates that its mail is made from."
    yield from _count("templates", rules.templates, most.max_templates, message)
    yield from _templates(rules, templates)
    yield from _count("recipients", rules.recipients, most.max_recipients)
    yield from _each("recipients", rules.recipients, _recipient_key, "'{}' is no address.", ErrorCode.INVALID_EMAIL)
    yield from _client_limits(rules)


_NO_ORIGIN = (
    "'{}' is no origin such as https://example.com or https://example.com:8443: no path, no *. http:// is for pages on"
    " this machine only (localhost, 127.0.0.1, [::1])."
)


def _count(field: str, entries: Collection[object], most: int, missing: str | None = None) -> Iterator[Problem]:
    if missing and not entries:
        yield Problem(ErrorCode.INVALID_INPUT, missing, (field,))
    if len(entries) > most:
        yield Problem(ErrorCode.TOO_LARGE, f"{field} has {len(entries)} entries; the limit is {most}.", (field,))


def _each(
    field: str, entries: tuple[str, ...], key_of: Any, wrong: str, code: ErrorCode = ErrorCode.INVALID_INPUT
) -> Iterator[Problem]:
    seen = set()
    for index, entry in enumerate(entries[:_LOOKED_AT]):
        key = key_of(entry)
        if key is None:
            yield Problem(code, wrong.format(shown(entry)), (field, str(index)))
        elif key in seen:
            yield Problem(ErrorCode.INVALID_INPUT, f"'{shown(entry)}' is there twice.", (field, str(index)))
        seen.add(key)


_LOOKED_AT = 1000


def _origin_key(text: str) -> str | None:
    return canonical_origin(text)


def _recipient_key(text: str) -> str | None:
    return mailbox_key(text) if check_email(text) is None else None


def _templates(rules: BrowserRules, templates: Mapping[UUID, bool]) -> Iterator[Problem]:
    for index, template_id in enumerate(rules.templates[:_LOOKED_AT]):
        path = ("templates", str(index))
        if template_id not in templates:
            yield Problem(ErrorCode.TEMPLATE_NOT_FOUND, "There is no such template.", path)
        elif template_id in rules.templates[:index]:
            yield Problem(ErrorCode.INVALID_INPUT, "The template is there twice.", path)
        elif not rules.recipients and not templates[template_id]:
            message = "The template has no recipients of its own: give it some, or the browser key."
            yield Problem(ErrorCode.NO_RECIPIENTS, message, ("recipients",))


def _client_limits(rules: BrowserRules) -> Iterator[Problem]:
    path = "limitsPerClientAddress"
    if rules.limits == NO_LIMITS:
        yield Problem(ErrorCode.INVALID_INPUT, "A browser key needs a limit for each client address.", (path,))
    for problem in check_limits(rules.limits):
        yield Problem(problem.code, problem.message, (path, *problem.field[1:]))

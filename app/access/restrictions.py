"""Which mail a grant to SEND covers, and how its row holds that. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Restrictions:
    """The lists of senders and recipients hold patterns (patterns.py). No allowed ones: any; what is denied never is.

    `templates`: where there are any, mail is made from one of these and brings no content of its own.
    `required_reply_to`: mail needs a Reply-To that this pattern matches.
    """

    allowed_senders: tuple[str, ...] = ()
    denied_senders: tuple[str, ...] = ()
    allowed_recipients: tuple[str, ...] = ()
    denied_recipients: tuple[str, ...] = ()
    templates: tuple[UUID, ...] = ()
    required_reply_to: str | None = None


PATTERN_FIELDS = ("allowed_senders", "denied_senders", "allowed_recipients", "denied_recipients")
NO_RESTRICTIONS = Restrictions()
_FIELDS = frozenset(field.name for field in fields(Restrictions))


def stored_restrictions(restrictions: Restrictions) -> dict[str, Any] | None:
    """The restrictions as the JSON column holds them: what says nothing is left out, and null stands for none."""
    stored = {name: value for name in _FIELDS if (value := getattr(restrictions, name))}
    if restrictions.templates:
        stored["templates"] = [str(template_id) for template_id in restrictions.templates]
    return stored or None


def restrictions_of(stored: Mapping[str, Any] | None) -> Restrictions | None:
    """The restrictions in the JSON column; None where one of them is unknown, because a newer version wrote it."""
    given: dict[str, Any] = dict(stored or {})
    if not given.keys() <= _FIELDS:
        return None
    lists: dict[str, Any] = {name: tuple(given.pop(name, ())) for name in PATTERN_FIELDS}
    templates = tuple(map(UUID, given.pop("templates", ())))
    return Restrictions(**lists, templates=templates, **given)

"""{name} filled from data."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import replace

from app.errors import TooLarge
from app.mail.draft import Draft, DraftLimits

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_DEFAULT_LIMITS = DraftLimits()


def fill(draft: Draft, limits: DraftLimits = _DEFAULT_LIMITS) -> Draft:
    """The draft with every known {name} of its subject, text and html replaced, in one pass.

    A value is never expanded again; a name that is unknown, or whose value is null, a list or an object, stays
    as written. `template_data` wins over `variables` and is HTML-escaped in `html`; `variables` go in raw.
    Raises TooLarge, before anything is built, if a filled part would pass `max_body_chars`.
    """
    plain = _words({**draft.variables, **draft.template_data})
    escaped = {name: html.escape(word) if name in draft.template_data else word for name, word in plain.items()}
    most = limits.max_body_chars
    return replace(
        draft,
        subject=_fill_text(draft.subject, plain, "subject", most),
        text=_fill_text(draft.text, plain, "text", most),
        html=_fill_text(draft.html, escaped, "html", most),
    )


def unfilled_placeholders(draft: Draft) -> tuple[str, ...]:
    """The names in {braces} that `fill` leaves as they are, each once, in the order of subject, text and html."""
    words = _words({**draft.variables, **draft.template_data})
    found = (name for part in (draft.subject, draft.text, draft.html) for name in _PLACEHOLDER.findall(part or ""))
    return tuple(dict.fromkeys(name for name in found if name not in words))


def is_placeholder(name: str) -> bool:
    """Whether {name} would be one."""
    return _PLACEHOLDER.fullmatch(f"{{{name}}}") is not None


def _words(values: Mapping[str, object]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if isinstance(value, str | int | float)
    }


def _fill_text(text: str | None, words: Mapping[str, str], field: str, most: int) -> str | None:
    if text is None or not words:
        return text
    growth = (len(words[found[1]]) - len(found[0]) for found in _PLACEHOLDER.finditer(text) if found[1] in words)
    size = len(text) + sum(growth)
    if size > max(most, len(text)):
        message = f"{field} would have {size} characters with its placeholders filled; the limit is {most}."
        raise TooLarge(message, field=(field,))
    return _PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)

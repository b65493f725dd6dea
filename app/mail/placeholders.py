"""{name} filled from data."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from msgspec import structs

from app.errors import TooLarge
from app.mail.draft import Draft, DraftLimits, Unsubscribe

# Any text in braces is one if it has a value. What has none is shown to people only where it looks like one: not CSS.
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_LIKELY_PLACEHOLDER = re.compile(r"\{([^\W\d][\w.-]*)\}")
_DEFAULT_LIMITS = DraftLimits()
_NOTHING: Mapping[str, str | None] = {}


def fill(
    draft: Draft, limits: DraftLimits = _DEFAULT_LIMITS, sender_fields: Mapping[str, str | None] = _NOTHING
) -> Draft:
    """The draft with every known {name} of its subject, text, html and `unsubscribe` replaced, in one pass.

    A value is never expanded again; a name that is unknown, or whose value is null, a list or an object, stays
    as written. `template_data` wins over `variables`, which go into `html` raw; everything else is HTML-escaped there.
    Values are percent-encoded in a URL to unsubscribe, unless it begins with the placeholder.
    Names that have no value there stand for `sender_fields`, and {subject} for the filled subject.
    Raises TooLarge, before anything is built, if a filled part would pass `max_body_chars`.
    """
    if not may_be_filled(draft):
        return draft
    words, most = _words(draft, sender_fields), limits.max_body_chars
    if draft.unsubscribe is None and not _names(draft) & {"subject", *words}:
        return draft
    subject = _fill_text(draft.subject, words, "subject", most)
    words = words if subject is None else {"subject": subject, **words}
    raw = draft.variables.keys() - draft.template_data
    used = _names_in(draft.html)
    escaped = {name: word if name in raw else html.escape(word) for name, word in words.items() if name in used}
    return structs.replace(
        draft,
        subject=subject,
        text=_fill_text(draft.text, words, "text", most),
        html=_fill_text(draft.html, escaped, "html", most),
        unsubscribe=_fill_unsubscribe(draft.unsubscribe, words, most),
    )


def may_be_filled(draft: Draft) -> bool:
    """Whether there is anything in it that `fill` looks at."""
    if draft.unsubscribe is not None or "{" in (draft.text or ""):
        return True
    return "{" in (draft.html or "") or "{" in (draft.subject or "")


def unfilled_placeholders(draft: Draft, sender_fields: Mapping[str, str | None] = _NOTHING) -> tuple[str, ...]:
    """The names in {braces} that `fill` leaves as they are, each once: of subject, text, html and `unsubscribe`.

    Names begin with a letter or _ and have no spaces: what else stands in braces is taken for CSS and the like.
    """
    words = _words(draft, sender_fields)
    address = draft.unsubscribe.email if draft.unsubscribe else None
    in_subject, *in_bodies = (
        _LIKELY_PLACEHOLDER.findall(part or "") for part in (draft.subject, draft.text, draft.html, address)
    )
    known = words.keys() if draft.subject is None else {"subject", *words}
    unknown = [name for name in in_subject if name not in words]
    unknown += [name for names in in_bodies for name in names if name not in known]
    return tuple(dict.fromkeys(unknown))


def is_placeholder(name: str) -> bool:
    """Whether {name} would be one, and be seen as one: no space at its ends, nothing that does not print."""
    return name.isprintable() and name == name.strip() and _PLACEHOLDER.fullmatch(f"{{{name}}}") is not None


def _names(draft: Draft) -> set[str]:
    return _names_in(draft.subject) | _names_in(draft.text) | _names_in(draft.html)


def _names_in(text: str | None) -> set[str]:
    return set(_PLACEHOLDER.findall(text)) if text and "{" in text else set()


def _words(draft: Draft, sender_fields: Mapping[str, str | None]) -> dict[str, str]:
    values = {**sender_fields, **draft.variables, **draft.template_data}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if isinstance(value, str | int | float)
    }


def _fill_unsubscribe(given: Unsubscribe | None, words: Mapping[str, str], most: int) -> Unsubscribe | None:
    if given is None:
        return None
    url = given.url
    if url is not None and (first := _PLACEHOLDER.match(url)) and first[1] in words:
        url = words[first[1]] + (_fill_url(url[first.end() :], words, most) or "")
    else:
        url = _fill_url(url, words, most)
    return replace(given, url=url, email=_fill_text(given.email, words, "unsubscribe", most))


def _fill_url(url: str | None, words: Mapping[str, str], most: int) -> str | None:
    encoded = {name: quote(word.encode("utf-8", "replace"), safe="") for name, word in words.items()} if url else {}
    return _fill_text(url, encoded, "unsubscribe", most)


def _fill_text(text: str | None, words: Mapping[str, str], field: str, most: int) -> str | None:
    if text is None or not words:
        return text
    growth = (len(words[found[1]]) - len(found[0]) for found in _PLACEHOLDER.finditer(text) if found[1] in words)
    size = len(text) + sum(growth)
    if size > max(most, len(text)):
        message = f"{field} would have {size} characters with its placeholders filled; the limit is {most}."
        raise TooLarge(message, field=(field,))
    return _PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)

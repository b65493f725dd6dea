"""How the recipient gets off the list: List-Unsubscribe (RFC 2369), with one click (RFC 8058)."""

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, urlsplit

from app.errors import ErrorCode, Problem
from app.mail.address import check_email, wire_address
from app.mail.characters import shown
from app.mail.draft import Draft, Unsubscribe
from app.mail.header import structured_field

FIELD = "List-Unsubscribe"
ONE_CLICK_FIELD = "List-Unsubscribe-Post"
WRITTEN_FIELDS = frozenset({FIELD.lower(), ONE_CLICK_FIELD.lower()})

# RFC 3986, and no space: what has another character has to be percent-encoded.
_URL = re.compile(r"https?://[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+", re.IGNORECASE)
# With its brackets and its comma it stands on one line of a header section, which has 998 characters at most.
_MAX_URL_CHARS = 980


def check_unsubscribe(draft: Draft) -> Iterator[Problem]:
    """What is wrong with the draft's `unsubscribe`, its placeholders filled; fields are ("unsubscribe", "url")."""
    given = draft.unsubscribe
    if given is None:
        return
    if not (given.url or given.email):
        yield _problem("Unsubscribe needs a url, an email, or both.")
    if given.url:
        yield from _url_problems(given.url)
    if given.email and (problem := check_email(given.email)):
        yield replace(problem, field=("unsubscribe", "email"))
    if given.one_click and not (given.url or "").lower().startswith("https://"):
        yield _problem("One-click unsubscribing needs an https URL (RFC 8058).", "one_click")
    for position, (name, _) in enumerate(draft.headers):
        if name.lower() in WRITTEN_FIELDS:
            message = f"The header field {name} is written for unsubscribe: give one of the two."
            yield replace(_problem(message), field=("headers", str(position), "name"))


def unsubscribe_fields(given: Unsubscribe) -> str:
    """The header fields, with their CRLF, of what passed the check."""
    ways = [f"<{given.url}>"] if given.url else []
    if given.email:
        ways.append(f"<mailto:{quote(wire_address(given.email), safe='@!$*+-._~')}>")
    fields = structured_field(FIELD, ", ".join(ways))
    if given.one_click:
        fields += structured_field(ONE_CLICK_FIELD, "List-Unsubscribe=One-Click")
    return fields


def _url_problems(url: str) -> Iterator[Problem]:
    if len(url) > _MAX_URL_CHARS:
        message = f"url has {len(url)} characters; the limit is {_MAX_URL_CHARS}."
        yield replace(_problem(message, "url"), code=ErrorCode.TOO_LARGE)
    elif not _URL.fullmatch(url) or not _host(url):
        message = f"'{shown(url)}' is no http or https URL of ASCII characters, others percent-encoded."
        yield _problem(message, "url")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # brackets that hold no address
        return None


def _problem(message: str, *path: str) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, message, ("unsubscribe", *path))

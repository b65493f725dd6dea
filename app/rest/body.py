"""The fields of a request to the REST route, read as a Draft."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import ErrorCode, InvalidInput, Problem
from app.mail.address import Mailbox, parse_mailboxes
from app.mail.characters import shown
from app.mail.draft import Attachment, Draft, Link
from app.mail.transfer_encoding import read_base64

_RECIPIENTS = frozenset({"to", "cc", "bcc"})
_FROM_AND_REPLY_TO = frozenset({"from_email", "from_name", "reply_to_email", "reply_to_name"})
"""Texts that are absent where they are empty."""

_TEXTS = {"subject": "subject", "body_text": "text", "body_html": "html"} | {name: name for name in _FROM_AND_REPLY_TO}
"""What a Draft calls them."""

_TEMPLATE = frozenset({"template", "template_id"})
_ATTACHED = ("attachments", "attachment", "import_url")
_IN_ORDER = (
    *("to", "cc", "bcc", "subject", "body_text", "body_html"),
    *("from_email", "from_name", "reply_to_email", "reply_to_name"),
    *("template", "template_id", "template_data", *_ATTACHED),
)
"""Every field, in the order in which problems are named."""

FIELDS = frozenset(_IN_ORDER)

_URL = re.compile(r"https?://", re.IGNORECASE)
_BETWEEN_URLS = re.compile(r"\s*,\s*(?=https?://)", re.IGNORECASE)


def read_draft(body: Mapping[str, Any], files: tuple[Attachment, ...] = ()) -> Draft:
    """The draft that the fields and files ask for. Every key that is not a field is a variable for {placeholders}.

    Raises InvalidInput with every field that has the wrong shape.
    """
    if not body and not files:
        raise InvalidInput("No valid data in request.")
    draft = Draft()  # to be given all of its fields at once, by name, would take it longer
    variables: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in body.items():
        if name in _TEXTS:
            if isinstance(value, str):
                if value or name not in _FROM_AND_REPLY_TO:
                    setattr(draft, _TEXTS[name], value)
            elif value is not None:
                problems.append(_no_string((name,)))
        elif name in _RECIPIENTS:
            setattr(draft, name, _mailboxes(value, name, problems))
        elif name in _TEMPLATE:
            setattr(draft, name, _template(value, name, problems))
        elif name == "template_data":
            draft.template_data = _template_data(value, problems)
        elif name not in FIELDS:
            variables[name] = value
    attached = [] if body.keys().isdisjoint(_ATTACHED) else list(_attached(body, problems))
    if problems:
        raise InvalidInput(problems=sorted(problems, key=lambda problem: _IN_ORDER.index(problem.field[0])))
    if attached or files:
        draft.attachments = (*(file for file in attached if isinstance(file, Attachment)), *files)
        draft.links = tuple(link for link in attached if isinstance(link, Link))
    draft.variables = variables
    return draft


def _no_string(path: tuple[str, ...]) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, f"The field '{path[-1]}' must be a string.", path)


def _template(value: Any, field: str, problems: list[Problem]) -> str | None:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value) or None
    if value is not None:
        message = f"The field '{field}' must be a string or a whole number."
        problems.append(Problem(ErrorCode.INVALID_INPUT, message, (field,)))
    return None


def _mailboxes(value: Any, field: str, problems: list[Problem]) -> tuple[Mailbox, ...]:
    """A string holds one or several; a list holds strings and objects in any order; nothing at all counts as absent."""
    found: list[Mailbox] = []
    for entry in value if isinstance(value, list) else (value,):
        if isinstance(entry, str):
            found += parse_mailboxes(entry)
            continue
        if isinstance(entry, dict) and isinstance(email := entry.get("email"), str):
            name = entry.get("name")
            if name is None or isinstance(name, str):
                found.append(Mailbox(email, name or None))
                continue
        if entry is not None:
            problems.append(
                Problem(
                    ErrorCode.INVALID_EMAIL,
                    f"Invalid email - '{_shown(entry)}'. The field '{field}' takes addresses as strings,"
                    " as objects with 'email' and 'name', or as a list of these.",
                    (field,),
                )
            )
    return tuple(found)


def _attached(body: Mapping[str, Any], problems: list[Problem]) -> Iterator[Attachment | Link]:
    for field in _ATTACHED:
        value = body.get(field)
        for index, entry in enumerate(value if isinstance(value, list) else [value]):
            if entry:
                yield from _entry(entry, (field, str(index)), problems)


def _entry(entry: Any, path: tuple[str, ...], problems: list[Problem]) -> Iterator[Attachment | Link]:
    match entry:
        case {"name": str(name), "content": str(content)} if path[0] != "import_url":
            octets = read_base64(content)
            if octets is None:
                message = f"The content of '{shown(name)}' in '{path[0]}' is not valid base64."
                problems.append(Problem(ErrorCode.INVALID_INPUT, message, (*path, "content")))
            texts = (_attachment_text(entry, (*path, field), problems) for field in ("content_type", "content_id"))
            yield Attachment(name, b"" if octets is None else octets, *texts)
        case str(url) | {"url": str(url)} if _URL.match(url):
            yield from (Link(one, path) for one in _BETWEEN_URLS.split(url))
        case str() | {"url": _} | {"service": _} | {"path": _}:
            problems.append(_by_path(path))
        case _:
            shape = "a URL" if path[0] == "import_url" else "an object with 'name' and 'content' (base64), or a URL"
            problems.append(Problem(ErrorCode.INVALID_INPUT, f"Each entry of '{path[0]}' must be {shape}.", path))


def _attachment_text(entry: Mapping[str, Any], path: tuple[str, ...], problems: list[Problem]) -> str | None:
    value = entry.get(path[-1])
    if value is None or isinstance(value, str):
        return value or None
    problems.append(_no_string(path))
    return None


def _by_path(path: tuple[str, ...]) -> Problem:
    return Problem(
        ErrorCode.INVALID_INPUT,
        f"The field '{path[0]}' names a file by something else than an http or https URL. This server reads no files of"
        " its own, or of other services: send each one as an object with 'name' and 'content' (base64), or as a file of"
        " a multipart form.",
        path,
    )


def _template_data(value: Any, problems: list[Problem]) -> Mapping[str, Any]:
    if value in (None, "", []):
        return {}
    if isinstance(value, dict):
        return value
    problems.append(
        Problem(ErrorCode.INVALID_INPUT, "The field 'template_data' must be an object.", ("template_data",))
    )
    return {}


def _shown(value: Any) -> str:
    """What was given, for people. Of lists and objects only their kind: they may be deep and long."""
    match value:
        case dict():
            return "{…}"
        case list():
            return "[…]"
    return shown(str(value))

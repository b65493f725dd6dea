"""The fields of a request to the REST route, read as a Draft."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import ErrorCode, InvalidInput, Problem
from app.mail.address import Mailbox, parse_mailboxes
from app.mail.characters import shown
from app.mail.draft import Attachment, Draft, Link
from app.mail.transfer_encoding import read_base64

_RECIPIENTS = ("to", "cc", "bcc")
_TEXTS = (
    "subject",
    "body_text",
    "body_html",
    "from_email",
    "from_name",
    "reply_to_email",
    "reply_to_name",
)
_ATTACHED = frozenset({"attachments", "attachment", "import_url"})
FIELDS = frozenset((*_RECIPIENTS, *_TEXTS, "template", "template_id", "template_data", *_ATTACHED))

_URL = re.compile(r"https?://", re.IGNORECASE)
_BETWEEN_URLS = re.compile(r"\s*,\s*(?=https?://)", re.IGNORECASE)


def read_draft(body: Mapping[str, Any], files: tuple[Attachment, ...] = ()) -> Draft:
    """The draft that the fields and files ask for. Every key that is not a field is a variable for {placeholders}.

    Raises InvalidInput with every field that has the wrong shape.
    """
    if not body and not files:
        raise InvalidInput("No valid data in request.")
    problems: list[Problem] = []
    recipients = {name: tuple(_mailboxes(body[name], name, problems)) for name in _RECIPIENTS if name in body}
    fields = {name: _text(body, name, problems) for name in _TEXTS if name in body}
    named = {name: _template(body, name, problems) for name in ("template", "template_id")}
    template_data = _template_data(body.get("template_data"), problems)
    attached = tuple(_attached(body, problems)) if _ATTACHED & body.keys() else ()
    if problems:
        raise InvalidInput(problems=problems)
    return Draft(
        to=recipients.get("to", ()),
        cc=recipients.get("cc", ()),
        bcc=recipients.get("bcc", ()),
        subject=fields.get("subject"),
        text=fields.get("body_text"),
        html=fields.get("body_html"),
        from_email=fields.get("from_email") or None,
        from_name=fields.get("from_name") or None,
        reply_to_email=fields.get("reply_to_email") or None,
        reply_to_name=fields.get("reply_to_name") or None,
        template=named["template"],
        template_id=named["template_id"],
        template_data=template_data,
        variables={name: value for name, value in body.items() if name not in FIELDS},
        attachments=(*(file for file in attached if isinstance(file, Attachment)), *files),
        links=tuple(link for link in attached if isinstance(link, Link)),
    )


def _text(body: Mapping[str, Any], field: str, problems: list[Problem]) -> str | None:
    value = body.get(field)
    if value is None or isinstance(value, str):
        return value
    problems.append(Problem(ErrorCode.INVALID_INPUT, f"The field '{field}' must be a string.", (field,)))
    return None


def _template(body: Mapping[str, Any], field: str, problems: list[Problem]) -> str | None:
    value = body.get(field)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value) or None
    if value is not None:
        message = f"The field '{field}' must be a string or a whole number."
        problems.append(Problem(ErrorCode.INVALID_INPUT, message, (field,)))
    return None


def _mailboxes(value: Any, field: str, problems: list[Problem]) -> Iterator[Mailbox]:
    """A string holds one or several; a list holds strings and objects in any order; nothing at all counts as absent."""
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        match entry:
            case None | "":
                continue
            case str():
                yield from parse_mailboxes(entry)
            case {"email": str(email), "name": str() | None as name}:
                yield Mailbox(email, name or None)
            case {"email": str(email)} if "name" not in entry:
                yield Mailbox(email)
            case _:
                problems.append(
                    Problem(
                        ErrorCode.INVALID_EMAIL,
                        f"Invalid email - '{_shown(entry)}'. The field '{field}' takes addresses as strings,"
                        " as objects with 'email' and 'name', or as a list of these.",
                        (field,),
                    )
                )


def _attached(body: Mapping[str, Any], problems: list[Problem]) -> Iterator[Attachment | Link]:
    for field in ("attachments", "attachment", "import_url"):
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
    problems.append(Problem(ErrorCode.INVALID_INPUT, f"The field '{path[-1]}' must be a string.", path))
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

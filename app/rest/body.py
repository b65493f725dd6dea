"""A JSON body of the REST route, read as a Draft."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import ErrorCode, InvalidInput, NotFound, Problem
from app.mail.address import Mailbox, parse_mailboxes
from app.mail.characters import shown
from app.mail.draft import Attachment, Draft
from app.mail.transfer_encoding import decode_base64

FIELDS = frozenset(
    {
        "to",
        "cc",
        "bcc",
        "subject",
        "body_text",
        "body_html",
        "from_email",
        "from_name",
        "reply_to_email",
        "reply_to_name",
        "template",
        "template_id",
        "template_data",
        "attachments",
        "attachment",
        "import_url",
    }
)


def read_draft(body: Mapping[str, Any]) -> Draft:
    """The draft that the body asks for. Every key that is not a field is a variable for {placeholders}.

    Raises InvalidInput with every field that has the wrong shape, NotFound for a template.
    """
    if not body:
        raise InvalidInput("No valid data in request.")
    _refuse_template(body)
    problems: list[Problem] = []
    draft = Draft(
        to=tuple(_mailboxes(body.get("to"), "to", problems)),
        cc=tuple(_mailboxes(body.get("cc"), "cc", problems)),
        bcc=tuple(_mailboxes(body.get("bcc"), "bcc", problems)),
        subject=_text(body, "subject", problems),
        text=_text(body, "body_text", problems),
        html=_text(body, "body_html", problems),
        from_email=_text(body, "from_email", problems) or None,
        from_name=_text(body, "from_name", problems) or None,
        reply_to_email=_text(body, "reply_to_email", problems) or None,
        reply_to_name=_text(body, "reply_to_name", problems) or None,
        attachments=tuple(_attachments(body, problems)),
        template_data=_template_data(body.get("template_data"), problems),
        variables={name: value for name, value in body.items() if name not in FIELDS},
    )
    if problems:
        raise InvalidInput(problems=problems)
    return draft


def _refuse_template(body: Mapping[str, Any]) -> None:
    for field in ("template", "template_id"):
        if body.get(field) not in (None, ""):
            raise NotFound(f"Email Template '{_shown(body[field])}' not found", field=(field,))


def _text(body: Mapping[str, Any], field: str, problems: list[Problem]) -> str | None:
    value = body.get(field)
    if value is None or isinstance(value, str):
        return value
    problems.append(Problem(ErrorCode.INVALID_INPUT, f"The field '{field}' must be a string.", (field,)))
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


def _attachments(body: Mapping[str, Any], problems: list[Problem]) -> Iterator[Attachment]:
    if body.get("import_url"):
        problems.append(_by_reference("import_url"))
    for field in ("attachments", "attachment"):
        value = body.get(field)
        for index, entry in enumerate(value if isinstance(value, list) else [value]):
            if entry:
                yield from _attachment(entry, (field, str(index)), problems)


def _attachment(entry: Any, path: tuple[str, ...], problems: list[Problem]) -> Iterator[Attachment]:
    match entry:
        case {"name": str(name), "content": str(content)}:
            octets = decode_base64(content)
            if octets is None:
                message = f"The content of '{shown(name)}' in '{path[0]}' is not valid base64."
                problems.append(Problem(ErrorCode.INVALID_INPUT, message, (*path, "content")))
            texts = (_attachment_text(entry, (*path, field), problems) for field in ("content_type", "content_id"))
            yield Attachment(name, octets or b"", *texts)
        case str() | {"service": _} | {"path": _}:
            problems.append(_by_reference(*path))
        case _:
            message = f"Each entry of '{path[0]}' must be an object with 'name' and 'content' (base64)."
            problems.append(Problem(ErrorCode.INVALID_INPUT, message, path))


def _attachment_text(entry: Mapping[str, Any], path: tuple[str, ...], problems: list[Problem]) -> str | None:
    value = entry.get(path[-1])
    if value is None or isinstance(value, str):
        return value or None
    problems.append(Problem(ErrorCode.INVALID_INPUT, f"The field '{path[-1]}' must be a string.", path))
    return None


def _by_reference(*path: str) -> Problem:
    return Problem(
        ErrorCode.INVALID_INPUT,
        f"The field '{path[0]}' names a file by URL or path. This server fetches no files:"
        " send each one as an object with 'name' and 'content' (base64).",
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

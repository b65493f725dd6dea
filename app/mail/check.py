"""Everything that is wrong with a draft, at once, each problem with the path of its field."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import orjson

from app.errors import ErrorCode, Problem
from app.mail.address import Mailbox, check_email, check_name
from app.mail.characters import header_breaking, shown, unstorable
from app.mail.draft import Attachment, Draft, DraftLimits
from app.mail.nesting import is_deeper
from app.mail.unsubscribe import check_unsubscribe

_FIELD_NAME = re.compile(r"[A-Za-z0-9-]{1,76}")
_OWNED_FIELDS = frozenset(
    {
        "from",
        "sender",
        "to",
        "cc",
        "bcc",
        "reply-to",
        "subject",
        "date",
        "message-id",
        "mime-version",
        "return-path",
        "received",
        "dkim-signature",
    }
)
_OWNED_PREFIXES = ("content-", "resent-")

_WORD = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}(?: *; *{_WORD}=(?:{_WORD}|{_QUOTED}))*")
_CONTENT_ID = re.compile(r"[!-;=?-~]+")


def check_draft(draft: Draft, limits: DraftLimits, *, author_is_sound: bool = False) -> tuple[Problem, ...]:
    """All problems of a draft whose placeholders are filled; an empty tuple means it can be composed and stored.
    `author_is_sound`: `is_sound_author` said so of its author before.

    Field paths name the draft's own fields: ("to", "0", "email"), ("attachments", "2", "content_type").
    """
    is_sound = _is_sound_letter(draft, limits) and (author_is_sound or is_sound_author(draft, limits))
    letter = () if is_sound else tuple(_letter(draft, limits))
    return (*letter, *_extras(draft, limits)) if _has_extras(draft) else letter


def is_sound_author(draft: Draft, limits: DraftLimits) -> bool:
    """Whether nothing is wrong with the draft's own From and Reply-To, told at a straight look."""
    for email, name in ((draft.from_email, draft.from_name), (draft.reply_to_email, draft.reply_to_name)):
        if (email and check_email(email) is not None) or not _is_sound_name(name, limits):
            return False
    return True


def is_media_type(text: str) -> bool:
    """Whether an attachment may have this content type, as far as its form goes."""
    return _MEDIA_TYPE.fullmatch(text) is not None and not text.lower().startswith("multipart/")


def _is_sound_letter(draft: Draft, limits: DraftLimits) -> bool:
    """Whether nothing is wrong with what every mail has besides its author, told at a straight look. It says no to some
    that is right."""
    mailboxes = draft.to + draft.cc + draft.bcc
    if not draft.to or len(mailboxes) > limits.max_recipients or not (draft.text or draft.html or draft.attachments):
        return False
    for mailbox in mailboxes:
        if check_email(mailbox.email) is not None or not _is_sound_name(mailbox.name, limits):
            return False
    subject = draft.subject or ""
    if not subject.isprintable() or len(subject) > limits.max_subject_chars:
        return False
    text, html, most = draft.text or "", draft.html or "", limits.max_body_chars
    return len(text) <= most and len(html) <= most and not unstorable(text) and not unstorable(html)


def _is_sound_name(name: str | None, limits: DraftLimits) -> bool:
    return name is None or (name.isprintable() and len(name) <= limits.max_name_chars)


def _letter(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    yield from _recipients(draft, limits)
    yield from _author(draft, limits)
    yield from _subject(draft, limits)
    yield from _bodies(draft, limits)


def _has_extras(draft: Draft) -> bool:
    has_data = draft.template_data or draft.variables or draft.metadata or draft.tags
    return bool(has_data or draft.headers or draft.attachments or draft.unsubscribe is not None)


def _extras(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    if draft.headers:
        yield from _headers(draft, limits)
    if draft.unsubscribe is not None:
        yield from check_unsubscribe(draft)
    if draft.attachments:
        yield from _attachments(draft, limits)
    has_data = draft.template_data or draft.variables or draft.metadata or draft.tags
    if has_data and not _is_sound_data(draft, limits):
        yield from _data(draft, limits)


def _recipients(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    if not draft.to:
        yield Problem(ErrorCode.NO_RECIPIENTS, "Invalid email - ''.", ("to",))
    named = len(draft.to) + len(draft.cc) + len(draft.bcc)
    if named > limits.max_recipients:
        yield _too_large(("to",), f"{named} recipients", f"{limits.max_recipients}")
        return
    for field, mailboxes in (("to", draft.to), ("cc", draft.cc), ("bcc", draft.bcc)):
        for position, mailbox in enumerate(mailboxes):
            for problem in _mailbox(mailbox, limits):
                yield problem.under(field, str(position))


def _mailbox(mailbox: Mailbox, limits: DraftLimits) -> Iterator[Problem]:
    if problem := check_email(mailbox.email):
        yield problem
    yield from _name(mailbox.name, limits)


def _name(name: str | None, limits: DraftLimits) -> Iterator[Problem]:
    if name is None:
        return
    if problem := check_name(name):
        yield problem
    yield from _length(("name",), name, limits.max_name_chars)


def _author(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    for prefix, email, name in (
        ("from", draft.from_email, draft.from_name),
        ("reply_to", draft.reply_to_email, draft.reply_to_name),
    ):
        if email and (problem := check_email(email)):
            yield replace(problem, field=(f"{prefix}_email",))
        if name is None:
            continue
        if problem := check_name(name):
            yield replace(problem, field=(f"{prefix}_name",))
        yield from _length((f"{prefix}_name",), name, limits.max_name_chars)


def _subject(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    yield from _header_bound(("subject",), draft.subject)
    yield from _length(("subject",), draft.subject, limits.max_subject_chars)


def _bodies(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    if not (draft.text or draft.html or draft.attachments):
        message = "A message must have a text or an HTML part or attachments."
        yield Problem(ErrorCode.NO_BODY, message, ("text",))
    for field, body in (("text", draft.text), ("html", draft.html)):
        if not body:
            continue
        yield from _storable((field,), body)
        yield from _length((field,), body, limits.max_body_chars)


def _headers(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    if len(draft.headers) > limits.max_headers:
        yield _too_large(("headers",), f"{len(draft.headers)} header fields", f"{limits.max_headers}")
        return
    for position, (name, value) in enumerate(draft.headers):
        path = ("headers", str(position))
        if not _FIELD_NAME.fullmatch(name):
            yield _invalid((*path, "name"), f"'{shown(name)}' is no header field name of letters, digits and hyphens")
        elif name.lower() in _OWNED_FIELDS or name.lower().startswith(_OWNED_PREFIXES):
            yield _invalid((*path, "name"), f"the header field {name} is written by the server")
        yield from _header_bound((*path, "value"), value)
        yield from _length((*path, "value"), value, limits.max_header_chars)


def _attachments(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    if len(draft.attachments) > limits.max_attachments:
        yield _too_large(("attachments",), f"{len(draft.attachments)} attachments", f"{limits.max_attachments}")
        return
    seen: set[str] = set()
    for position, attachment in enumerate(draft.attachments):
        for problem in _attachment(attachment, limits):
            yield problem.under("attachments", str(position))
        if attachment.content_id in seen:
            message = f"the content id {shown(attachment.content_id)} is used twice"
            yield _invalid(("attachments", str(position), "content_id"), message)
        seen |= {attachment.content_id} if attachment.content_id else set()


def _attachment(attachment: Attachment, limits: DraftLimits) -> Iterator[Problem]:
    if not attachment.name.strip():
        yield _invalid(("name",), "an attachment needs a file name")
    yield from _header_bound(("name",), attachment.name)
    yield from _length(("name",), attachment.name, limits.max_name_chars)
    if len(attachment.content) > limits.max_attachment_bytes:
        yield _too_large(("content",), f"{len(attachment.content)} bytes", f"{limits.max_attachment_bytes}")
    if attachment.content_type:
        yield from _content_type(attachment.content_type, limits)
    if attachment.content_id:
        yield from _content_id(attachment.content_id, limits)


def _content_type(content_type: str, limits: DraftLimits) -> Iterator[Problem]:
    too_long = tuple(_length(("content_type",), content_type, limits.max_name_chars))
    yield from too_long
    if not too_long and not _MEDIA_TYPE.fullmatch(content_type):
        yield _invalid(("content_type",), f"'{shown(content_type)}' is no media type such as image/png")
    if content_type.lower().startswith("multipart/"):
        yield _invalid(("content_type",), "an attachment is one file and cannot be multipart")


def _content_id(content_id: str, limits: DraftLimits) -> Iterator[Problem]:
    if not _CONTENT_ID.fullmatch(content_id):
        message = f"'{shown(content_id)}' is no content id of printable ASCII without spaces and angle brackets"
        yield _invalid(("content_id",), message)
    yield from _length(("content_id",), content_id, limits.max_name_chars)


def _is_sound_data(draft: Draft, limits: DraftLimits) -> bool:
    """Whether nothing is wrong with its data, told by what it is as JSON. It says no to some that is right."""
    tags = len(draft.tags) <= limits.max_tags and max(map(len, draft.tags), default=0) <= limits.max_tag_chars
    try:
        metadata, *others = [
            orjson.dumps(dict(data)) for data in (draft.metadata, draft.template_data, draft.variables)
        ]
    except TypeError:
        return False
    octets = b"".join([metadata, *others])
    # A number that is not finite is null in it, and depth is no more than the number of brackets.
    if b"null" in octets or b"\\u0000" in octets or unstorable("".join(draft.tags)):
        return False
    shallow = octets.count(b"{") + octets.count(b"[") <= limits.max_json_depth
    return tags and shallow and len(metadata) <= limits.max_metadata_bytes


def _data(draft: Draft, limits: DraftLimits) -> Iterator[Problem]:
    for field, values in (
        ("template_data", draft.template_data),
        ("variables", draft.variables),
        ("metadata", draft.metadata),
    ):
        found = next((found for leaf in _leaves(values) if (found := _flaw(leaf))), None)
        if found:
            yield _invalid((field,), f"{field} must not contain {found}")
    most = limits.max_json_depth
    # A variable is a value of its own; template data and metadata are one each.
    for field, deep in (
        ("template_data", is_deeper(draft.template_data, most)),
        ("variables", is_deeper(draft.variables, most + 1)),
        ("metadata", is_deeper(draft.metadata, most)),
    ):
        if deep:
            yield _invalid((field,), f"{field} must be at most {most} levels deep")
    yield from _metadata(draft.metadata, limits)
    yield from _tags(draft.tags, limits)


def _flaw(leaf: str | float) -> str | None:
    """What keeps it from being JSON that can be stored: PostgreSQL has no numbers beyond JSON's either."""
    if isinstance(leaf, str):
        return unstorable(leaf)
    return None if math.isfinite(leaf) else "a number that is not finite"


def _leaves(values: object) -> Iterator[str | float]:
    """Every string, every key and every float in a JSON value of any depth."""
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, str | float):
            yield value
        elif isinstance(value, Mapping):
            pending += (*value.keys(), *value.values())
        elif isinstance(value, list | tuple):
            pending += value


def _metadata(metadata: Mapping[str, object], limits: DraftLimits) -> Iterator[Problem]:
    if is_deeper(metadata, limits.max_json_depth) or any(_flaw(leaf) for leaf in _leaves(metadata)):
        return
    try:
        size = len(orjson.dumps(dict(metadata)))
    except TypeError:
        yield _invalid(("metadata",), "metadata must be JSON, its integers of 64 bits")
        return
    if size > limits.max_metadata_bytes:
        yield _too_large(("metadata",), f"{size} bytes of JSON", f"{limits.max_metadata_bytes}")


def _tags(tags: tuple[str, ...], limits: DraftLimits) -> Iterator[Problem]:
    if len(tags) > limits.max_tags:
        yield _too_large(("tags",), f"{len(tags)} tags", f"{limits.max_tags}")
        return
    for position, tag in enumerate(tags):
        yield from _storable(("tags", str(position)), tag)
        yield from _length(("tags", str(position)), tag, limits.max_tag_chars)


def _header_bound(field: tuple[str, ...], value: str | None) -> Iterator[Problem]:
    if found := header_breaking(value or ""):
        yield _invalid(field, f"{_leaf(field)} must not contain control characters ({found})")


def _storable(field: tuple[str, ...], text: str) -> Iterator[Problem]:
    if found := unstorable(text):
        yield _invalid(field, f"{_leaf(field)} must not contain {found}")


def _length(field: tuple[str, ...], text: str | None, limit: int) -> Iterator[Problem]:
    if text is not None and len(text) > limit:
        yield _too_large(field, f"{len(text)} characters", f"{limit}")


def _too_large(field: tuple[str, ...], size: str, limit: str) -> Problem:
    return Problem(ErrorCode.TOO_LARGE, f"{_leaf(field)} has {size}; the limit is {limit}.", field)


def _invalid(field: tuple[str, ...], message: str) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, f"{message[0].upper()}{message[1:]}.", field)


def _leaf(field: tuple[str, ...]) -> str:
    return next(part for part in reversed(field) if not part.isdigit())

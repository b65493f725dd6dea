"""Draft to content bytes: header section and MIME tree (RFC 5322, RFC 2045)."""

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import blake2b
from mimetypes import MimeTypes
from os.path import splitext
from typing import cast

from app.mail.address import Mailbox
from app.mail.content import Composed
from app.mail.draft import Attachment, Draft
from app.mail.header import address_field, author_field, structured_field, unstructured_field
from app.mail.mime import Entity, file_entity, multipart_entity, text_entity
from app.mail.unsubscribe import unsubscribe_fields

_SEPARATOR = re.compile(r"[/\\]")
_DRIVES = re.compile(r"\A(?:\s*[A-Za-z]:)+")
_UNNAMED_FILE = "attachment"
_UNKNOWN_TYPE = "application/octet-stream"
_COMMON_TYPES, _STANDARD_TYPES = MimeTypes().types_map


def compose(draft: Draft, *, sender: Mailbox, reply_to: Mailbox | None, message_id: str, date: datetime) -> bytes:
    """The final bytes of a checked draft: CRLF line ends, no line over 998 octets, not yet dot-stuffed.

    All is 7-bit, but for From, To, Cc and Reply-To fields with a local part beyond ASCII: those are UTF-8
    (RFC 6532), and the envelope says `smtputf8`. Bcc is never written. `message_id` comes with its angle
    brackets; `date` is timezone-aware. The same arguments give the same bytes.
    Raises ValueError if a header field would hold a control character.
    """
    return lay_out(draft, sender=sender, reply_to=reply_to, message_id=message_id, date=date).whole()


def lay_out(draft: Draft, *, sender: Mailbox, reply_to: Mailbox | None, message_id: str, date: datetime) -> Composed:
    """The bytes that `compose` gives, of which those of attachments are made when they are read."""
    header = _header_section(draft, sender, reply_to, message_id, date)
    parts = (header.encode(), *_content(draft, message_id))
    return Composed(parts if draft.attachments else (b"".join(cast("tuple[bytes, ...]", parts)),))


def _header_section(draft: Draft, sender: Mailbox, reply_to: Mailbox | None, message_id: str, date: datetime) -> str:
    to = address_field("To", draft.to) if draft.to else ""
    cc = address_field("Cc", draft.cc) if draft.cc else ""
    replies = "" if reply_to is None else author_field("Reply-To", reply_to)
    subject = "" if draft.subject is None else unstructured_field("Subject", draft.subject)
    unsubscribe = "" if draft.unsubscribe is None else unsubscribe_fields(draft.unsubscribe)
    more = "".join([unstructured_field(name, value) for name, value in draft.headers]) if draft.headers else ""
    return (
        f"Date: {_date(date)}\r\n{author_field('From', sender)}{to}{cc}{replies}{subject}"
        f"{structured_field('Message-ID', message_id)}MIME-Version: 1.0\r\n{unsubscribe}{more}"
    )


def _date(moment: datetime) -> str:
    """RFC 5322 section 3.3. The names are English, whatever the locale."""
    if moment.tzinfo is not UTC:
        return format_datetime(moment)
    return _utc_date(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)


@lru_cache(maxsize=16)
def _utc_date(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str:
    weekday = _DAYS[datetime(year, month, day, tzinfo=UTC).weekday()]
    return f"{weekday}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} +0000"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _content(draft: Draft, message_id: str) -> Entity:
    """mixed(alternative(text, related(html, inline files)), files), each level only where it is needed."""
    inline: list[Attachment] = []
    files: list[Attachment] = []
    for attachment in draft.attachments:
        (inline if draft.html and attachment.content_id else files).append(attachment)
    mark = blake2b(message_id.encode(), digest_size=12).hexdigest() if draft.html or files else ""
    bodies = []
    if draft.text or not (draft.html or files):
        bodies.append(text_entity(draft.text or "", "plain"))
    if draft.html:
        bodies.append(_html(draft.html, inline, mark))
    if len(bodies) == 2:
        bodies = [multipart_entity("alternative", bodies, mark=mark)]
    if not files:
        return bodies[0]
    return multipart_entity("mixed", [*bodies, *(_file(attachment, "attachment") for attachment in files)], mark=mark)


def _html(html: str, inline: list[Attachment], mark: str) -> Entity:
    root = text_entity(html, "html")
    if not inline:
        return root
    entities = [root, *(_file(attachment, "inline") for attachment in inline)]
    return multipart_entity("related", entities, mark=mark, root_type="text/html")


def _file(attachment: Attachment, disposition: str) -> Entity:
    name = file_name(attachment.name)
    return file_entity(
        attachment.content,
        _media_type(attachment.content_type, name),
        name=name,
        disposition=disposition,
        content_id=attachment.content_id,
    )


def file_name(name: str) -> str:
    """The last component of what may be a path of any system, never empty: a receiver gets no directory to obey."""
    last = _DRIVES.sub("", _SEPARATOR.split(name)[-1]).strip()
    return _UNNAMED_FILE if last in ("", ".", "..") else last


def _media_type(content_type: str | None, name: str) -> str:
    """The type as given, else as the extension says. A message/* file goes out as octets: RFC 2046 section 5.2
    allows it no base64, and without base64 it would not arrive as it is."""
    extension = splitext(name)[1].lower()
    media_type = content_type or _STANDARD_TYPES.get(extension) or _COMMON_TYPES.get(extension) or _UNKNOWN_TYPE
    return _UNKNOWN_TYPE if media_type.lower().startswith("message/") else media_type

"""Read captured mail: the list, and one mail taken apart."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from email.policy import EmailPolicy
from typing import Any
from uuid import UUID

from app.access.policy import ServiceScope
from app.database.connection import as_document, as_key, as_moment, rows
from app.database.where import Where
from app.errors import NotFound

_COLUMNS = "id, service_id, received_at, reverse_path, recipients, sender, subject, size_bytes"


class _Lenient(EmailPolicy):
    """Decodes header fields, as UTF-8 (RFC 6532) too; one that Python's parser stumbles over stays as it is."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        try:
            return super().header_fetch_parse(name, text)
        except Exception:  # malformed structured fields raise many kinds of errors
            return text


_AS_IS = _Lenient(refold_source="none", linesep="\r\n")
_PARSER = BytesParser(policy=_AS_IS)
_HEADER_PARSER = BytesHeaderParser(policy=_AS_IS)


@dataclass(frozen=True, slots=True)
class StoredCapture:
    """One captured mail, without its content."""

    id: UUID
    service_id: UUID
    received_at: datetime
    reverse_path: str
    recipients: Sequence[str]
    sender: str | None
    subject: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CapturedPart:
    """An attachment or an inline image, decoded; any part that is not shown as text or html."""

    name: str | None
    content_type: str
    content_id: str | None
    octets: bytes


@dataclass(frozen=True, slots=True)
class ReadMail:
    """A mail taken apart: its header fields in their order, decoded, and the first inline part of text and of html.

    `source` is the mail as received, read as UTF-8. No string holds a lone surrogate or U+0000.
    """

    headers: Sequence[tuple[str, str]]
    text: str | None
    html: str | None
    parts: Sequence[CapturedPart]
    source: str


async def find_capture(capture_id: UUID, scope: ServiceScope) -> StoredCapture | None:
    """The captured mail, or None when there is none or `scope` does not cover its service."""
    found = await rows(f"SELECT {_COLUMNS} FROM captured_mail WHERE id = $1", capture_id)  # noqa: S608 - constants
    capture = _capture(found[0]) if found else None
    return capture if capture is not None and scope.includes(capture.service_id) else None


async def list_captures(scope: ServiceScope, *, after: UUID | None, limit: int) -> list[StoredCapture]:
    """Newest first, at most `limit`, starting behind the captured mail `after`."""
    where = Where()
    where.add_among("service_id", scope.service_ids, negate=scope.all)
    if after is not None:
        where.add("id < ?", after)
    limited = where.place(limit)
    found = await rows(
        f"SELECT {_COLUMNS} FROM captured_mail{where.clause} ORDER BY id DESC LIMIT {limited}",  # noqa: S608
        *where.arguments,
    )
    return [_capture(row) for row in found]


async def read_capture(capture_id: UUID) -> ReadMail:
    """The content of a captured mail that `find_capture` or `list_captures` has given.

    Raises NotFound when it was purged in between.
    """
    found = await rows("SELECT octets FROM captured_mail WHERE id = $1", capture_id)
    if not found:
        raise NotFound("The captured mail was purged.")
    return await asyncio.to_thread(take_apart, bytes(found[0]["octets"]))


def take_apart(octets: bytes) -> ReadMail:
    """Parse a mail. Never raises: what cannot be decoded comes as well as it can."""
    try:
        return _read(_PARSER.parsebytes(octets), octets)
    except Exception:  # e.g. a boundary in a charset that is none, or nesting without end
        return _read(_HEADER_PARSER.parsebytes(octets), octets)


def first_fields(octets: bytes, *names: str) -> list[str | None]:
    """The first header field of each name, decoded; None where the mail has none. Never raises."""
    header = _HEADER_PARSER.parsebytes(octets.partition(b"\r\n\r\n")[0])
    return [_clean(str(header[name])) if name in header else None for name in names]


def _capture(row: Mapping[str, Any]) -> StoredCapture:
    return StoredCapture(
        id=as_key(row["id"]),
        service_id=as_key(row["service_id"]),
        received_at=as_moment(row["received_at"]),
        reverse_path=row["reverse_path"],
        recipients=as_document(row["recipients"]),
        sender=row["sender"],
        subject=row["subject"],
        size_bytes=row["size_bytes"],
    )


def _read(mail: Message, octets: bytes) -> ReadMail:
    leaves = list(_leaves(mail))
    text, html = _body(leaves, "text/plain"), _body(leaves, "text/html")
    return ReadMail(
        headers=[(name, _clean(str(value))) for name, value in mail.items()],
        text=None if text is None else _text(text),
        html=None if html is None else _text(html),
        parts=[_part(leaf) for leaf in leaves if leaf is not text and leaf is not html],
        source=_clean(octets.decode("utf-8", "replace")),
    )


def _leaves(part: Message) -> Iterator[Message]:
    """The parts that hold no parts, in their order. An attached message is one of them, whatever it holds."""
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        for child in part.get_payload():
            assert isinstance(child, Message)
            yield from _leaves(child)
    else:
        yield part


def _body(leaves: Sequence[Message], content_type: str) -> Message | None:
    inline = (leaf for leaf in leaves if leaf.get_content_disposition() != "attachment" and not _file_name(leaf))
    return next((leaf for leaf in inline if leaf.get_content_type() == content_type), None)


def _text(part: Message) -> str:
    octets = _octets(part)
    try:
        return _clean(octets.decode(part.get_content_charset("utf-8"), "replace"))
    except Exception:  # no charset of this name, one that cannot replace, malformed parameters
        return _clean(octets.decode("utf-8", "replace"))


def _part(part: Message) -> CapturedPart:
    name, content_id = _file_name(part), part["Content-ID"]
    return CapturedPart(
        name=None if name is None else _clean(name),
        content_type=_clean(part.get_content_type()),
        content_id=_clean(str(content_id)).strip("<> ") if content_id else None,
        octets=_octets(part),
    )


def _file_name(part: Message) -> str | None:
    try:
        return part.get_filename()
    except Exception:  # malformed RFC 2231 parameters raise many kinds of errors
        return None


def _octets(part: Message) -> bytes:
    if part.is_multipart():
        return _attached_message(part)
    octets = part.get_payload(decode=True)
    return octets if isinstance(octets, bytes) else b""


def _attached_message(part: Message) -> bytes:
    """Python parses message/* before it looks at the Content-Transfer-Encoding: put together again, then decode."""
    messages = [message for message in part.get_payload() if isinstance(message, Message)]
    octets = b"".join(message.as_bytes(policy=_AS_IS) for message in messages)
    encoded: Message = Message()
    encoded["Content-Transfer-Encoding"] = str(part["Content-Transfer-Encoding"] or "8bit")
    encoded.set_payload(octets.decode("ascii", "surrogateescape"))
    decoded = encoded.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else octets


def _clean(text: str) -> str:
    """Neither PostgreSQL nor JSON takes every string that Python has."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")

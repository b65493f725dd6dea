"""Read captured mail: the list, and one mail taken apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from typing import Any
from uuid import UUID

from app.access.policy import ServiceScope
from app.database.connection import as_document, as_key, as_moment, rows
from app.database.where import Where

_COLUMNS = "id, service_id, received_at, reverse_path, recipients, sender, subject, size_bytes"
_PARSER = BytesParser(policy=policy.default)


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
    """An attachment or an inline image, decoded."""

    name: str | None
    content_type: str
    content_id: str | None
    octets: bytes


@dataclass(frozen=True, slots=True)
class ReadMail:
    """A mail taken apart. Header fields in their order, decoded; `source` as received, octets beyond ASCII kept."""

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
    """The content of a captured mail that `find_capture` or `list_captures` has given."""
    found = await rows("SELECT octets FROM captured_mail WHERE id = $1", capture_id)
    return take_apart(bytes(found[0]["octets"]))


def take_apart(octets: bytes) -> ReadMail:
    """Parse a mail. Never raises: what cannot be decoded comes as well as it can."""
    mail = _PARSER.parsebytes(octets)
    assert isinstance(mail, EmailMessage)
    return ReadMail(
        headers=header_fields(mail),
        text=_body(mail, "plain"),
        html=_body(mail, "html"),
        parts=list(_parts(mail)),
        source=octets.decode("utf-8", "replace"),
    )


def header_fields(mail: Message) -> list[tuple[str, str]]:
    """The header fields in their order, decoded; one that Python's parser stumbles over comes as it is."""
    fields = []
    for name, raw in mail.raw_items():
        try:
            text = str(policy.default.header_fetch_parse(name, raw))
        except Exception:  # the parser raises many kinds of errors on malformed structured fields
            text = str(raw)
        fields.append((name, text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")))
    return fields


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


def _body(mail: EmailMessage, kind: str) -> str | None:
    for part in mail.walk():
        if part.get_content_type() == f"text/{kind}" and not _is_file(part):
            return _decode(_octets(part), part.get_content_charset("utf-8"))
    return None


def _decode(octets: bytes, charset: str) -> str:
    try:
        return octets.decode(charset, "replace")
    except LookupError:
        return octets.decode("utf-8", "replace")


def _parts(mail: EmailMessage) -> Iterator[CapturedPart]:
    for part in mail.walk():
        if _is_file(part) and not part.is_multipart():
            content_id = str(part["Content-ID"]).strip("<> ") if part["Content-ID"] else None
            yield CapturedPart(part.get_filename(), part.get_content_type(), content_id, _octets(part))


def _is_file(part: Any) -> bool:
    named = part.get_content_disposition() == "attachment" or part.get_filename() or part["Content-ID"]
    return bool(named) or part.get_content_maintype() not in {"text", "multipart"}


def _octets(part: Any) -> bytes:
    octets = part.get_payload(decode=True)
    return octets if isinstance(octets, bytes) else b""

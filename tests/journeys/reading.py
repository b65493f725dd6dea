"""Mail read back by two parsers that have nothing in common: Python's, and one written in another language."""

import re
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import fast_mail_parser


@dataclass(frozen=True, slots=True)
class File:
    """One attachment or inline image, decoded."""

    name: str
    content_type: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """What a reader gets: header fields decoded, texts with CRLF line ends."""

    sender: str
    to: str
    cc: str | None
    reply_to: str | None
    subject: str | None
    message_id: str
    date: str
    text: str | None
    html: str | None
    files: tuple[File, ...]


def read_mail(content: bytes) -> Mail:
    """The mail, as both parsers read it. Asserts that they agree, and that nothing of Bcc is in the header section."""
    python, other = _read_with_python(content), _read_with_another(content)
    assert python == other
    header = content.partition(b"\r\n\r\n")[0]
    assert not re.search(rb"^(resent-)?bcc", header, re.IGNORECASE | re.MULTILINE)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", content)
    return python


def _read_with_python(content: bytes) -> Mail:
    mail = message_from_bytes(content, policy=default)
    assert isinstance(mail, EmailMessage)
    parts = [part for part in mail.walk() if not part.is_multipart()]
    assert not any(part.defects for part in mail.walk())
    texts = {part.get_content_subtype(): _octets(part).decode() for part in parts if not part.get_filename()}

    def field(name: str) -> str | None:
        assert len(mail.get_all(name, [])) <= 1
        return None if mail[name] is None else str(mail[name])

    return Mail(
        sender=field("From") or "",
        to=field("To") or "",
        cc=field("Cc"),
        reply_to=field("Reply-To"),
        subject=field("Subject"),
        message_id=field("Message-ID") or "",
        date=field("Date") or "",
        text=texts.get("plain"),
        html=texts.get("html"),
        files=tuple(
            File(part.get_filename() or "", part.get_content_type(), _octets(part))
            for part in parts
            if part.get_filename()
        ),
    )


def _octets(part: EmailMessage) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets


def _read_with_another(content: bytes) -> Mail:
    mail = fast_mail_parser.parse_email(content)

    def field(name: str) -> str | None:
        values: list[str] = mail.headers.get(name, [])
        assert len(values) <= 1
        return values[0] if values else None

    return Mail(
        sender=field("From") or "",
        to=field("To") or "",
        cc=field("Cc"),
        reply_to=field("Reply-To"),
        subject=field("Subject"),
        message_id=field("Message-ID") or "",
        date=field("Date") or "",
        text=mail.text_plain[0] if mail.text_plain else None,
        html=mail.text_html[0] if mail.text_html else None,
        files=tuple(File(file.filename, file.mimetype, file.content) for file in mail.attachments),
    )

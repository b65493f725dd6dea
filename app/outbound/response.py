"""What the header of an answer says about the file in it."""

from collections.abc import Iterable, Mapping
from email.message import Message
from urllib.parse import unquote

from app.mail.check import is_media_type

_UNNAMED = "attachment"


def read_header(fields: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Field names in lower case to values; of a field that comes twice, the first."""
    header: dict[str, str] = {}
    for name, value in fields:
        header.setdefault(name.decode("latin-1").lower(), _text(value))
    return header


def file_name(header: Mapping[str, str], path: str, most_chars: int) -> str:
    """As Content-Disposition says (RFC 6266), else the end of the URL's path; printable, never empty. It may still look
    like a path itself."""
    named = _parsed("content-disposition", header).get_filename() or unquote(path.rpartition("/")[2])
    printable = "".join(char for char in named if char.isprintable()).strip()
    return printable[-most_chars:].strip() or _UNNAMED


def media_type(header: Mapping[str, str], most_chars: int) -> str | None:
    """Content-Type with no parameter but charset; None where it is none that an attachment may have."""
    given = header.get("content-type", "").partition(";")[0].strip().lower()
    charset = _parsed("content-type", header).get_param("charset")
    full = f"{given}; charset={charset}" if charset else given
    fit = (text for text in (full, given) if len(text) <= most_chars and is_media_type(text))
    return next(fit, None)


def _parsed(name: str, header: Mapping[str, str]) -> Message:
    message = Message()
    message[name] = header.get(name, "")
    return message


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")

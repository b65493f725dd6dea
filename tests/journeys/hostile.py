"""Text that would be more than text if nobody looked, every place to put it, and what must be true of a mail then."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from tests.journeys.conftest import Arrival

EVIL = "evil@evil.example"
SMUGGLED = f"MAIL FROM:<{EVIL}>\r\nRCPT TO:<{EVIL}>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
ENCODED = b64encode(f"x\r\nBcc: {EVIL}".encode()).decode()

PAYLOADS = (
    *(f"a{end}Bcc: {EVIL}" for end in ("\r\n", "\r", "\n", "\x00", "\x0b", "\x0c", "\x85", "\u2028")),
    f"a\r\n\r\nBcc: {EVIL}",
    f"\r\nBcc: {EVIL}\r\n",
    f"=?utf-8?q?x=0D=0ABcc:_{EVIL}?=",
    f"=?utf-8?b?{ENCODED}?=",
    *(f"a{dot}{SMUGGLED}" for dot in ("\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r\n\x00.\r\n")),
    "a\ud800b",
    *(".", ".\r\n", "..", "\r\n.\r\n", "\n.\n", ".a\r\n..b\r\n.", "QUIT\r\n", "a\r\n.\r\n\r\n.\r\n"),
    *("x" * 100_000, "ü" * 100_000, "x " * 2000, "\n" * 1000, "=" * 2000),
    *("../../etc/passwd", "..\\..\\boot.ini", "/", 'a"; filename="evil.exe', "a\\", '"', "a\r\n\r\n--=_"),
    *("\x1b[31m", "\t", " ", "\ufeff", "\u202etxt.exe", "a, b <c@d>; (e)", f"<{EVIL}>", f"a <{EVIL}>, b"),
    *("text/html\r\nX: y", "text/html; charset=utf-16", "message/rfc822", "multipart/mixed; boundary=x", "image/*"),
)

TOP = {"Date", "From", "To", "Cc", "Subject", "Message-ID", "MIME-Version", "Content-Type"}
PART = {"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID"}
_NAME = re.compile(rb"([!-9;-~]+):")


@dataclass(frozen=True)
class Place:
    """Where a text is put: `put` gives what is laid over a mail that is right, `read` finds the text in the mail that
    arrives, `agrees` compares both. `named`: one of these words is in a refusal's field. `others`: who else gets
    the mail. `is_a_name`: the text is to name a header field."""

    put: Callable[[str], dict[str, Any]]
    named: Sequence[str]
    read: Callable[[EmailMessage], str | None] = lambda _: None
    agrees: Callable[[str | None, str], bool] = lambda read, _: read is None
    more: frozenset[str] = frozenset()
    others: Callable[[str], tuple[str, ...]] = lambda _: ()
    is_a_name: bool = False


def same(read: str | None, given: str) -> bool:
    """A value of the header section, to the letter."""
    return (read or "") == given


def same_name(read: str | None, given: str) -> bool:
    """A display name; white space alone is none."""
    return same(read, "" if given.isspace() else given)


def same_lines(read: str | None, given: str) -> bool:
    """A body: its line ends are CRLF, and the last line has one. What is empty is no body."""
    lines = re.split(r"\r\n|\r|\n", given)
    return not read if not given else read == "\r\n".join(lines if lines[-1] == "" else [*lines, ""])


def same_lines_escaped(read: str | None, given: str) -> bool:
    """The same in HTML, when the value was one of template_data."""
    escaped = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
    return same_lines(read, "".join(escaped.get(char, char) for char in given))


def no_path(read: str | None, given: str) -> bool:
    """A file name: the end of what was given, or a name of ours; never a folder."""
    assert read
    return not re.search(r"[/\\]", read) and (given.strip().endswith(read) or read == "attachment")


def harmless_name(read: str | None, _: str) -> bool:
    """A file name that came in a header of a form, which the text may have ended: no file, or one without a folder."""
    return not re.search(r"[/\\\r\n\x00]", read or "")


def field(name: str) -> Callable[[EmailMessage], str | None]:
    """A field of the header section, decoded."""
    return lambda mail: None if mail[name] is None else str(mail[name])


def display_name(name: str) -> Callable[[EmailMessage], str | None]:
    """The first display name of an address field."""
    return lambda mail: str(mail[name].addresses[0].display_name) if mail[name] else None


def body(subtype: str) -> Callable[[EmailMessage], str | None]:
    """The text of this kind."""

    def read(mail: EmailMessage) -> str | None:
        for part in mail.walk():
            if part.get_content_type() == f"text/{subtype}" and not part.get_filename():
                octets = part.get_payload(decode=True)
                assert isinstance(octets, bytes)
                return octets.decode()
        return None

    return read


def of_file(read: Callable[[EmailMessage], str | None]) -> Callable[[EmailMessage], str | None]:
    """Something of the one file; None where there is none."""

    def found(mail: EmailMessage) -> str | None:
        files = [part for part in mail.walk() if isinstance(part, EmailMessage) and part.get_filename()]
        return read(files[0]) if files else None

    return found


def file_name(part: EmailMessage) -> str | None:
    """Its name, from which Python's own method would take angle brackets."""
    return str(part["Content-Disposition"].params["filename"])


def file_text(part: EmailMessage) -> str:
    """Its octets, as text."""
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.decode(errors="surrogatepass")


def assert_harmless(arrival: Arrival, key: str, place: Place, given: str) -> None:
    """One mail to those it is for, every header field one of ours, the text where it belongs and nowhere else."""
    content = arrival.content
    assert arrival.reverse_path == "me@sender.example"
    assert arrival.recipients == (key, *place.others(given))
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    mail = message_from_bytes(content, policy=default)
    assert isinstance(mail, EmailMessage)
    header = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    names = [_name(line) for line in header if not line.startswith(b" ")]
    assert len(names) == len(set(names))
    named = {given} if place.is_a_name else set()
    assert set(names) <= TOP | place.more | named | {"Content-Transfer-Encoding"}
    for part in mail.walk():
        assert not part.defects
        assert part is mail or set(part.keys()) <= PART
    assert place.agrees(place.read(mail), given), place.read(mail)


def _name(line: bytes) -> str:
    found = _NAME.match(line)
    assert found, line
    return found[1].decode()


def as_json(value: object) -> bytes:
    """JSON in ASCII, lone surrogates and all."""
    return json.dumps(value).encode()

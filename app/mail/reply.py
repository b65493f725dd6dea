"""What an SMTP server answered: RFC 5321 section 4.2, RFC 3463."""

import re
from dataclasses import dataclass
from enum import StrEnum

_ENHANCED = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?:[ \t]+|$)")
_LINE_BREAK = re.compile(r"\r?\n|\r")
_UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Severity(StrEnum):
    """The first digit of a reply code, as a verdict."""

    POSITIVE = "positive"
    TRANSIENT = "transient"
    PERMANENT = "permanent"

    __hash__ = str.__hash__  # an Enum's own is in Python, and takes several times as long


_POSITIVE, _TRANSIENT, _PERMANENT = Severity  # the members of an Enum take several times as long to get


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: `code` is three digits, `enhanced_code` as "5.1.1" or None, `text` without either."""

    code: int
    text: str
    enhanced_code: str | None = None

    @classmethod
    def parse(cls, code: int, text: str) -> "Reply":
        """Split the enhanced status code (RFC 2034) off each line of `text`; lines are joined by newlines.

        Octets that are no UTF-8, which arrive as lone surrogates, and control characters become U+FFFD, so that
        whatever a server says can be stored: an attempt that cannot be written down would be made again.
        """
        is_plain = text.isascii() and text.isprintable()
        lines = [text] if is_plain else [_UNREADABLE.sub("\ufffd", line) for line in _LINE_BREAK.split(text)]
        first = _ENHANCED.match(lines[0])
        if first is None or first[1] != str(code)[0]:
            return cls(code, "\n".join(lines).strip())
        repeated = first[0].rstrip()
        return cls(code, "\n".join(_without(repeated, line) for line in lines).strip(), _canonical(first))

    @property
    def severity(self) -> Severity:
        """2yz and 3yz positive, 5yz permanent, everything else (4yz and nonsense) transient."""
        if 200 <= self.code <= 399:
            return _POSITIVE
        return _PERMANENT if 500 <= self.code <= 599 else _TRANSIENT

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced_code, self.text) if part)


def parts_of(reply: Reply | None) -> tuple[int | None, str | None, str | None]:
    """Code, enhanced code and text, as they are stored; None three times where there is no reply."""
    return (reply.code, reply.enhanced_code, reply.text) if reply is not None else (None, None, None)


def stored_reply(code: int | None, enhanced_code: str | None, text: str | None) -> Reply | None:
    """The reply whose parts these are; the reverse of `parts_of`."""
    return Reply(code, text or "", enhanced_code) if code is not None else None


def _without(enhanced: str, line: str) -> str:
    found = _ENHANCED.match(line)
    return line[found.end() :] if found and found[0].rstrip() == enhanced else line


def _canonical(enhanced: re.Match[str]) -> str:
    return f"{enhanced[1]}.{int(enhanced[2])}.{int(enhanced[3])}"

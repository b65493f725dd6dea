"""What an SMTP server answered: RFC 5321 section 4.2, RFC 3463."""

import re
from dataclasses import dataclass
from enum import StrEnum

_ENHANCED = re.compile(r"^([245])\.(\d{1,3})\.(\d{1,3})(?:\s+|$)")


class Severity(StrEnum):
    """The first digit of a reply code, as a verdict."""

    POSITIVE = "positive"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: `code` is three digits, `enhanced_code` as "5.1.1" or None, `text` without either."""

    code: int
    text: str
    enhanced_code: str | None = None

    @classmethod
    def parse(cls, code: int, text: str) -> "Reply":
        """Split the enhanced status code (RFC 2034) off each line of `text`; lines are joined by newlines."""
        lines = text.split("\n")
        first = _ENHANCED.match(lines[0])
        if first is None or first[1] != str(code)[0]:
            return cls(code, text.strip())
        enhanced = f"{first[1]}.{int(first[2])}.{int(first[3])}"
        return cls(code, "\n".join(_ENHANCED.sub("", line, count=1) for line in lines).strip(), enhanced)

    @property
    def severity(self) -> Severity:
        """2yz and 3yz positive, 5yz permanent, everything else (4yz and nonsense) transient."""
        if 200 <= self.code <= 399:
            return Severity.POSITIVE
        return Severity.PERMANENT if 500 <= self.code <= 599 else Severity.TRANSIENT

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced_code, self.text) if part)

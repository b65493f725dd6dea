"""What the receiver got: mails, and what was said to get there."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """One mail, at the moment of its final dot.

    `content` is exact: CRLF line ends, dot-stuffing undone. `parameters` are those of MAIL, keywords in upper
    case, None where there was no value. `username` is who authenticated, `tls` whether content came encrypted.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes
    ehlo_name: str
    username: str | None
    tls: bool
    parameters: Mapping[str, str | None]


@dataclass(slots=True)
class SessionLog:
    """What one client said, for asserts. `commands` are lines without CRLF, AUTH material included; `received` is
    every octet, as decrypted; `waits` how often all that it sent was answered, and nothing more had come. Kept only by
    a receiver that was asked to."""

    commands: list[str] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    tls: bool = False
    mails: int = 0
    waits: int = 0

    @property
    def verbs(self) -> list[str]:
        """The first words of the commands, in upper case."""
        return [command.split(" ", 1)[0].upper() for command in self.commands]

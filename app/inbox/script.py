"""What a receiver does instead of the proper thing: programmable replies, stage by stage."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Stage(StrEnum):
    """Where in the session a scripted action takes the place of the proper reply."""

    GREETING = "greeting"
    EHLO = "ehlo"
    HELO = "helo"
    STARTTLS = "starttls"
    AUTH = "auth"  # once the credentials have arrived
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BDAT = "bdat"  # once the octets of the chunk have arrived
    CONTENT = "content"  # once the first octets of the content have arrived
    DOT = "dot"  # after the final dot or the last chunk, before the mail is taken
    ACCEPTED = "accepted"  # the mail is taken, the reply not yet sent
    RSET = "rset"
    NOOP = "noop"
    QUIT = "quit"


@dataclass(frozen=True, slots=True)
class Answer:
    """Reply with this text, code included; "\\n" separates the lines of a multi-line reply. After 421, or
    with `close`, the connection is closed."""

    text: str
    close: bool = False

    @property
    def octets(self) -> bytes:
        """The reply as it goes over the wire (RFC 5321 section 4.2.1)."""
        return reply_octets(self.text)


@dataclass(frozen=True, slots=True)
class Raw:
    """Send exactly these octets in place of the reply, garbage included."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Endless:
    """Send these octets over and over, `every` so many seconds, for as long as the client is there."""

    octets: bytes
    every: float = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for the event, then do what is scripted next for the stage, or the proper thing."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Overlook:
    """Throw away what the client sent beyond this command, then do what is scripted next for the stage, or the proper
    thing."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection without a reply (FIN)."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection without a reply (RST)."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Never reply, and read nothing more."""


Action = Answer | Raw | Endless | Wait | Overlook | Drop | Reset | Hang


class Script:
    """Rules, tried in the order in which they were added; a stage without a matching rule behaves properly."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def on(
        self,
        stage: Stage,
        action: Action | str,
        *,
        address: str | None = None,
        after: int = 0,
        times: int | None = None,
    ) -> Self:
        """Do `action` (a string is an Answer) at `stage`; returns the script, so that calls chain.

        `address`: only for this path of MAIL or RCPT. `after`: only once the session has had that many mails
        accepted. `times`: only the first so many times, counted over all sessions.
        """
        chosen = Answer(action) if isinstance(action, str) else action
        self._rules.append(_Rule(stage, chosen, address, after, times))
        return self

    def actions(self, stage: Stage, address: str | None, accepted: int) -> Iterator[Action]:
        """What to do now: any number of Wait and Overlook, then at most one other action."""
        for rule in self._rules:
            if rule.matches(stage, address, accepted):
                rule.used += 1
                yield rule.action
                if not isinstance(rule.action, Wait | Overlook):
                    return


@dataclass(slots=True)
class _Rule:
    stage: Stage
    action: Action
    address: str | None
    after: int
    times: int | None
    used: int = 0

    def matches(self, stage: Stage, address: str | None, accepted: int) -> bool:
        return (
            stage is self.stage
            and self.address in (None, address)
            and accepted >= self.after
            and (self.times is None or self.used < self.times)
        )


def reply_octets(text: str) -> bytes:
    """A reply on the wire: "250 one\\n250 two" or "250 one\\ntwo" becomes 250-one CRLF 250 two CRLF."""
    code = text[:3]
    lines = [line[4:] if line[:3] == code and line[3:4] in ("", " ", "-") else line for line in text.split("\n")]
    marked = [f"{code}-{line}" for line in lines[:-1]] + [f"{code} {lines[-1]}"]
    return "".join(f"{line}\r\n" for line in marked).encode()

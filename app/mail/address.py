"""Mailbox and addr-spec: parse, format, refuse (RFC 5322 section 3.4)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address and, where there is one, its display name. As given: not yet checked."""

    email: str
    name: str | None = None

"""PURE: what a secret is worth, by the row of its API key."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.access.networks import is_within


class Flaw(StrEnum):
    """Why a secret opens nothing. Only the log tells it: to clients they are all one."""

    UNKNOWN = "it is unknown"
    REVOKED = "it is revoked"
    EXPIRED = "it has expired"
    REPLACED = "it was replaced, and its overlap is over"
    ELSEWHERE = "it is not allowed from this address"


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a secret opens what its API key may. `replaced`: it is the one before the present."""

    replaced: bool
    expires_at: datetime | None
    previous_expires_at: datetime | None
    revoked_at: datetime | None
    networks: Collection[str]

    @property
    def ends_at(self) -> datetime | None:
        """From when on it opens nothing, if it is not revoked before."""
        ends = (self.expires_at, self.previous_expires_at if self.replaced else None)
        return min((end for end in ends if end is not None), default=None)


def flaw_of(terms: Terms | None, moment: datetime, origin: str | None) -> Flaw | None:
    """Why it opens nothing at `moment`, to who asks from `origin`; None: it does. No terms: there is no such secret."""
    if terms is None:
        return Flaw.UNKNOWN
    if terms.revoked_at is not None:
        return Flaw.REVOKED
    if terms.expires_at is not None and moment >= terms.expires_at:
        return Flaw.EXPIRED
    if terms.replaced and (terms.previous_expires_at is None or moment >= terms.previous_expires_at):
        return Flaw.REPLACED
    return None if is_within(origin, terms.networks) else Flaw.ELSEWHERE

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
    """Under which terms a secret opens what its API key may. `known`: it is one of a key's; `replaced`: it is the one
    before the present."""

    known: bool
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


def flaw_of(terms: Terms, moment: datetime, origin: str | None) -> Flaw | None:
    """The first reason why it opens nothing at `moment`, to who asks from `origin`; None: it does open. Each reason is
    looked at, whichever it is: that takes one time."""
    ends = terms.previous_expires_at if terms.replaced else None
    is_revoked = terms.revoked_at is not None
    has_expired = terms.expires_at is not None and moment >= terms.expires_at
    is_replaced = terms.replaced and (ends is None or moment >= ends)
    is_elsewhere = not is_within(origin, terms.networks)
    if not terms.known:
        return Flaw.UNKNOWN
    if is_revoked:
        return Flaw.REVOKED
    if has_expired:
        return Flaw.EXPIRED
    if is_replaced:
        return Flaw.REPLACED
    return Flaw.ELSEWHERE if is_elsewhere else None

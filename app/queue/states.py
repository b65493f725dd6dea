"""The states of a recipient, the allowed transitions, and the message's state derived from them. Pure."""

from collections.abc import Collection, Mapping
from enum import StrEnum


class RecipientState(StrEnum):
    """Where one recipient of one message stands. SENT means the SMTP server answered 2yz; no more than that."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DEFERRED = "deferred"
    HELD = "held"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    __hash__ = str.__hash__  # an Enum's own is in Python, and takes several times as long


class MessageState(StrEnum):
    """Where a message stands as a whole; always derived from its recipients."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    HELD = "held"
    SENT = "sent"
    PARTIALLY_SENT = "partially_sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_R = RecipientState

# CLAIMED to CLAIMED is a take-over after the lease has ended.
TRANSITIONS: Mapping[RecipientState, frozenset[RecipientState]] = {
    _R.QUEUED: frozenset({_R.CLAIMED, _R.HELD, _R.FAILED, _R.CANCELLED, _R.EXPIRED}),
    _R.CLAIMED: frozenset({_R.CLAIMED, _R.QUEUED, _R.DEFERRED, _R.SENT, _R.FAILED, _R.EXPIRED}),
    _R.DEFERRED: frozenset({_R.CLAIMED, _R.HELD, _R.CANCELLED, _R.EXPIRED}),
    _R.HELD: frozenset({_R.QUEUED, _R.CANCELLED, _R.EXPIRED}),
    _R.SENT: frozenset(),
    _R.FAILED: frozenset({_R.QUEUED}),
    _R.CANCELLED: frozenset(),
    _R.EXPIRED: frozenset({_R.QUEUED}),
}

SETTLED = frozenset({_R.SENT, _R.FAILED, _R.CANCELLED, _R.EXPIRED})


def sources_of(target: RecipientState) -> frozenset[RecipientState]:
    """The states that may become `target`."""
    return frozenset(state for state, targets in TRANSITIONS.items() if target in targets)


CLAIMABLE = sources_of(_R.CLAIMED)


def message_state(recipients: Collection[RecipientState]) -> MessageState:
    """The state of a message with these recipients (at least one): the most alive unsettled state first, then
    SENT if all were, PARTIALLY_SENT if some were, else the gravest way in which none was."""
    present = set(recipients)
    if not present:
        raise ValueError("a message has at least one recipient")
    for state, derived in _UNSETTLED:
        if state in present:
            return derived
    if _R.SENT in present:
        return MessageState.SENT if present == {_R.SENT} else MessageState.PARTIALLY_SENT
    for state, derived in _UNSENT:
        if state in present:
            return derived
    raise ValueError(f"unknown states {present}")  # pragma: no cover - the tables above are exhaustive


_UNSETTLED = (
    (_R.CLAIMED, MessageState.SENDING),
    (_R.QUEUED, MessageState.QUEUED),
    (_R.DEFERRED, MessageState.DEFERRED),
    (_R.HELD, MessageState.HELD),
)
_UNSENT = (
    (_R.FAILED, MessageState.FAILED),
    (_R.EXPIRED, MessageState.EXPIRED),
    (_R.CANCELLED, MessageState.CANCELLED),
)

"""What one attempt made of one recipient, and how that is written down."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from app.database.connection import execute_many
from app.events.record import EventType, Happening
from app.mail.reply import Reply, parts_of
from app.queue.attempts import EndedAttempt
from app.queue.states import RecipientState

_DEFERRED = RecipientState.DEFERRED
_OUTCOMES = (RecipientState.SENT, RecipientState.FAILED, _DEFERRED, RecipientState.EXPIRED)


class Settlement(Struct, frozen=True):
    """What one attempt made of one recipient. `due_at` is set when, and only when, it is to be tried again.

    `untried`: through no fault of the mail nothing was tried. The attempt does not count, and it is due as before.
    """

    recipient_id: UUID | str
    number: int
    state: RecipientState
    due_at: datetime | None = None
    reply: Reply | None = None
    detail: str | None = None
    phase: str | None = None
    in_doubt: bool = False
    untried: bool = False

    def __post_init__(self) -> None:
        if self.state not in _OUTCOMES:
            raise ValueError(f"an attempt cannot end in {self.state}")
        if self.untried and self.state is not _DEFERRED:
            raise ValueError("what was not tried is deferred")
        if (self.due_at is not None) != (self.state is _DEFERRED and not self.untried):
            raise ValueError("a recipient has a next attempt if and only if it is deferred")


async def write_recipients(settlements: Sequence[Settlement], started_at: datetime, moment: datetime) -> None:
    """Write the new states of recipients that were tried."""
    await execute_many(_WRITE_RECIPIENT, [_row(s, started_at, moment) for s in settlements])


_WRITE_RECIPIENT = (
    "UPDATE recipient SET state = $2, due_at = $3, reply_code = $4, reply_enhanced = $5, reply_text = $6,"
    " detail = $7, settled_at = $8, tried_since = COALESCE(tried_since, $9) WHERE id = $1"
)


def _row(s: Settlement, started_at: datetime, moment: datetime) -> tuple[object, ...]:
    settled_at = None if s.due_at else moment
    return (s.recipient_id, s.state.value, s.due_at, *parts_of(s.reply), s.detail, settled_at, started_at)


def ended_attempt(settlement: Settlement) -> EndedAttempt:
    """The attempt, as it is written down."""
    return EndedAttempt(
        settlement.recipient_id,
        settlement.number,
        settlement.state,
        settlement.phase,
        settlement.in_doubt,
        settlement.reply,
        settlement.detail,
    )


def happening_of(message_id: UUID, settlement: Settlement) -> Happening:
    """The event that it is."""
    data: dict[str, object] = {} if settlement.untried else {"attempt": settlement.number}
    if settlement.reply is not None:
        data["code"] = settlement.reply.code
    if settlement.due_at is not None:
        data["until"] = settlement.due_at.isoformat()
    return Happening(EventType(settlement.state.value), message_id, settlement.recipient_id, data)

"""Change recipients that no worker has: the one way to do so, whoever asks."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.database.connection import as_key, execute_many, rows
from app.events.record import EventType, Happening, record
from app.queue.derive import refresh_message
from app.queue.lock import LockedMessage
from app.queue.states import CLAIMABLE, SETTLED, RecipientState, sources_of

_R = RecipientState


@dataclass(frozen=True, slots=True)
class Verb:
    """What is done to recipients in one of the states `sources`. A `target` of None leaves them in their state."""

    sources: frozenset[RecipientState]
    target: RecipientState | None
    event: EventType
    detail: str | None = None


CANCEL = Verb(sources_of(_R.CANCELLED), _R.CANCELLED, EventType.CANCELLED)
HOLD = Verb(sources_of(_R.HELD), _R.HELD, EventType.HELD)
RELEASE = Verb(frozenset({_R.HELD}), _R.QUEUED, EventType.RELEASED)
RESCHEDULE = Verb(sources_of(_R.CANCELLED), None, EventType.RESCHEDULED)
RETRY = Verb(sources_of(_R.QUEUED) & SETTLED, _R.QUEUED, EventType.RETRIED)
EXPIRE = Verb(
    sources_of(_R.EXPIRED) - {_R.CLAIMED}, _R.EXPIRED, EventType.EXPIRED, "It could not be sent before it expired."
)


@dataclass(frozen=True, slots=True)
class RecipientChange:
    """What became of one recipient: whether it was changed, and the state it has now."""

    recipient_id: UUID
    email: str
    changed: bool
    state: RecipientState


async def change_recipients(
    message: LockedMessage, verb: Verb, moment: datetime, due_at: datetime | None = None
) -> tuple[RecipientChange, ...]:
    """Do `verb` to every recipient whose state allows it, with its event, and derive the message's state.

    Call it inside the transaction that locked the message. What can be claimed afterwards is due at `due_at` (default:
    `moment`), and its give-up age starts anew. Claimed recipients, and the lease of a worker that lives, stay.
    """
    found = await rows(
        "SELECT id, email, state FROM recipient WHERE message_id = $1 ORDER BY position",
        message.id,
    )
    changes = [_change(row["id"], row["email"], RecipientState(row["state"]), verb) for row in found]
    changed = [change for change in changes if change.changed]
    await execute_many(
        "UPDATE recipient SET state = $2, due_at = $3, settled_at = $4, detail = COALESCE($5, detail),"
        " tried_since = NULL WHERE id = $1",
        [
            (
                change.recipient_id,
                change.state.value,
                (due_at or moment) if change.state in CLAIMABLE else None,
                moment if change.state in SETTLED else None,
                verb.detail,
            )
            for change in changed
        ],
    )
    data = {"until": due_at.isoformat()} if due_at else {}
    await record([Happening(verb.event, message.id, change.recipient_id, data) for change in changed], moment)
    if changed and not message.is_leased:
        await refresh_message(message.id, moment)
    return tuple(changes)


def _change(key: UUID | str, email: str, state: RecipientState, verb: Verb) -> RecipientChange:
    changed = state in verb.sources
    return RecipientChange(as_key(key), email, changed, (verb.target or state) if changed else state)

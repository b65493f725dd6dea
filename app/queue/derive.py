"""Bring a message's row in line with its recipients."""

from datetime import datetime
from uuid import UUID

from app.database.connection import as_moment, execute, rows
from app.queue.states import CLAIMABLE, SETTLED, MessageState, RecipientState, message_state


async def refresh_message(message_id: UUID, moment: datetime) -> MessageState:
    """Derive state, `due_at` and `settled_at` from the recipients and end any lease; returns the new state.

    Call it inside the transaction that changed the recipients.
    """
    found = await rows("SELECT state, due_at FROM recipient WHERE message_id = $1", message_id)
    states = [RecipientState(row["state"]) for row in found]
    state = message_state(states)
    waiting = [as_moment(row["due_at"]) for row in found if row["due_at"] and row["state"] in CLAIMABLE]
    await execute(
        "UPDATE message SET state = $2, due_at = $3, settled_at = $4, lease_owner = NULL, lease_until = NULL"
        " WHERE id = $1",
        message_id,
        state.value,
        min(waiting, default=None),
        moment if SETTLED.issuperset(states) else None,
    )
    return state

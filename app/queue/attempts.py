"""Write attempts down, whoever found out how they ended."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from app.database.connection import execute_many
from app.database.key import new_key
from app.mail.reply import Reply, parts_of
from app.queue.route import Via
from app.queue.states import RecipientState


class EndedAttempt(Struct, frozen=True):
    """One attempt at one recipient: its number from 1, the state it led to, how far it came, what was answered."""

    recipient_id: UUID | str
    number: int
    outcome: RecipientState
    phase: str | None = None
    in_doubt: bool = False
    reply: Reply | None = None
    detail: str | None = None


async def write_attempts(
    message_id: UUID,
    worker_id: UUID,
    attempts: Sequence[EndedAttempt],
    started_at: datetime,
    moment: datetime,
    via: Via | None = None,
) -> None:
    """Insert the attempts of one worker at one message, which ended at `moment`; `via` a fallback, if that is not None.
    Call it inside a transaction."""
    await execute_many(
        _WRITE_ATTEMPT,
        [
            (
                new_key(),
                message_id,
                attempt.recipient_id,
                worker_id,
                *via_parts(via),
                started_at,
                moment,
                attempt.number,
                attempt.outcome.value,
                attempt.phase,
                attempt.in_doubt,
                *parts_of(attempt.reply),
                attempt.detail,
            )
            for attempt in attempts
        ],
    )


_WRITE_ATTEMPT = (
    "INSERT INTO attempt (id, message_id, recipient_id, worker_id, service_id, service_name, fallback_reason,"
    " started_at, finished_at, number, outcome, phase, in_doubt, reply_code, reply_enhanced, reply_text, detail)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
)


def via_parts(via: Via | None) -> tuple[object, object, object]:
    """What an attempt says of the fallback by which it went, if it is not None."""
    return (via.service_id, via.service_name, via.reason) if via else (None, None, None)

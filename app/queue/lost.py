"""Attempts whose worker was lost: whoever finds them writes down what became of their recipients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.database.connection import as_key, as_moment, execute_many, rows
from app.events.record import EventType, Happening, record
from app.queue.announce import announce
from app.queue.attempts import EndedAttempt, write_attempts
from app.queue.derive import refresh_message
from app.queue.doubt import OnDoubt, uncertain
from app.queue.route import ROUTE, via_of
from app.queue.states import RecipientState

_LOST = "The worker was lost during this attempt"


@dataclass(frozen=True, slots=True)
class _Fate:
    recipient_id: UUID
    number: int
    state: RecipientState
    in_doubt: bool
    detail: str


async def end_lost_attempt(message_id: UUID, moment: datetime, max_crashes: int | None = None) -> bool:
    """End the lease of a worker that let it run out, if the message has one; whether it had.

    Each recipient that the worker had claimed gets the lost attempt written down, and is queued again, due at once.
    It fails where that would be the message's loss number `max_crashes` or more in a row (None: however many there
    were), and where the author wants it to fail in doubt and the final dot may have been said.
    Call it inside a transaction; whatever the worker may still bring is discarded from then on.
    """
    lost = await rows(
        "UPDATE message SET crashes = crashes + 1, verdict_awaited = $3 WHERE id = $1 AND lease_until <= $2"  # noqa: S608
        f" RETURNING {ROUTE}, lease_owner, claimed_at, on_doubt, crashes",
        message_id,
        moment,
        False,
    )
    if not lost:
        return False
    found = await rows(
        "SELECT id, attempt_number, in_doubt FROM recipient WHERE message_id = $1 AND state = $2 ORDER BY position",
        message_id,
        RecipientState.CLAIMED.value,
    )
    on_doubt, crashes = OnDoubt(lost[0]["on_doubt"]), int(lost[0]["crashes"])
    parked = max_crashes is not None and crashes >= max_crashes
    fates = [_fate(row, on_doubt, crashes, parked=parked) for row in found]
    worker_id, started_at = as_key(lost[0]["lease_owner"]), as_moment(lost[0]["claimed_at"]) or moment
    await _write_recipients(fates, started_at, moment)
    ended = [
        EndedAttempt(fate.recipient_id, fate.number, fate.state, in_doubt=fate.in_doubt, detail=fate.detail)
        for fate in fates
    ]
    await write_attempts(message_id, worker_id, ended, started_at, moment, via_of(lost[0]))
    await _tell_failed(message_id, fates, moment)
    await refresh_message(message_id, moment)
    return True


async def find_lost(moment: datetime) -> list[UUID]:
    """The messages whose lease has ended at `moment`."""
    # Few are leased at a time, and message_leased has just these.
    found = await rows("SELECT id FROM message WHERE lease_owner IS NOT NULL AND lease_until <= $1", moment)
    return [as_key(row["id"]) for row in found]


def _fate(row: Mapping[str, Any], on_doubt: OnDoubt, crashes: int, *, parked: bool) -> _Fate:
    """Only mail with OnDoubt.FAIL has it written down, before the final dot, that it may be said: see `begin_dot`."""
    in_doubt = bool(row["in_doubt"]) or on_doubt is OnDoubt.RETRY
    state, detail = RecipientState.QUEUED, f"{_LOST}, before the final dot."
    if in_doubt:
        detail = f"{_LOST}; whether the server took the mail is not known."
    if parked:
        state = RecipientState.FAILED
        detail = f"It was lost with its worker {crashes} times in a row, so it is not tried again by itself."
    if in_doubt and on_doubt is OnDoubt.FAIL:
        state, detail = RecipientState.FAILED, uncertain(f"{_LOST}.")
    return _Fate(as_key(row["id"]), row["attempt_number"], state, in_doubt, detail)


async def _write_recipients(fates: Sequence[_Fate], started_at: datetime, moment: datetime) -> None:
    await execute_many(
        "UPDATE recipient SET state = $2, due_at = $3, settled_at = $4, reply_code = NULL, reply_enhanced = NULL,"
        " reply_text = NULL, detail = $5, tried_since = COALESCE(tried_since, $6) WHERE id = $1",
        [
            (
                fate.recipient_id,
                fate.state.value,
                moment if fate.state is RecipientState.QUEUED else None,
                moment if fate.state is RecipientState.FAILED else None,
                fate.detail,
                started_at,
            )
            for fate in fates
        ],
    )


async def _tell_failed(message_id: UUID, fates: Sequence[_Fate], moment: datetime) -> None:
    failed = [fate for fate in fates if fate.state is RecipientState.FAILED]
    happenings = [
        Happening(EventType.FAILED, message_id, fate.recipient_id, {"attempt": fate.number}) for fate in failed
    ]
    await record(happenings, moment)
    if failed:
        await announce(message_id)

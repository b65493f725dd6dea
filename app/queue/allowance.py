"""How much of a message the limits of its service allow a claim to take, at this moment."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.database.connection import rows
from app.limits.counter import Taken, lock_subject, set_pace, take
from app.limits.turn import next_turn
from app.queue.states import CLAIMABLE
from app.services.pacing import COLUMNS, Pacing, pacing_of

IS_PACED = (
    f"(SELECT {' OR '.join(f'{column} IS NOT NULL' for column in COLUMNS)} FROM service"  # noqa: S608 - constants
    " WHERE service.id = message.route_id) AS is_paced"
)
"""For RETURNING: whether the service of the message has limits; where it has none, there is nothing to ask for."""

IS_OPEN = "NOT EXISTS (SELECT 1 FROM pace WHERE pace.subject = {service} AND pace.free_at > {moment})"
"""For WHERE: whether the limits of the service allow anything, as far as is known."""

OWN_IS_OPEN = (
    "NOT EXISTS (SELECT 1 FROM service AS own WHERE own.id = message.service_id"
    " AND (own.paused_at IS NOT NULL OR NOT own.is_active))"
)
"""For WHERE: whether the message's own service lets its mail go, by whichever service it leaves."""

# Of IN with more than two values SQLite makes a table, each time anew.
IS_CLAIMABLE = f"({' OR '.join(f'state = {state.value!r}' for state in sorted(CLAIMABLE))})"
"""For WHERE: whether a recipient is in a state that may be claimed."""


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """Turns of a service with a limit of messages per second: one that is at most `ahead` seconds away is taken and
    waited for, and up to `recipients`, or as many as the service says, share it, because they go out in one SMTP
    transaction."""

    ahead: float = 1
    recipients: int = 100


@dataclass(frozen=True, slots=True)
class Allowance:
    """A claim may take its due recipients up to this position, and send from `turn_at` on; None: at once.
    `taken` is what was counted."""

    last_position: int
    turn_at: datetime | None = None
    taken: Taken | None = None


UNLIMITED = Allowance(2**31 - 1)


class OverLimit(Exception):
    """Ends a claim's transaction: the limits of the service allow nothing now."""

    def __init__(self, service_id: UUID) -> None:
        self.service_id = service_id


async def allow(message_id: UUID, service_id: UUID, moment: datetime, policy: TurnPolicy) -> Allowance:
    """Take a turn, and as many of the due recipients as the limits of the service allow, in their order.

    Call it inside the claim's transaction, once the message's row is locked. Raises OverLimit when that is none.
    """
    due = await rows(
        "SELECT position FROM recipient WHERE message_id = $1"  # noqa: S608 - constants
        f" AND {IS_CLAIMABLE} AND due_at <= $2 ORDER BY position",
        message_id,
        moment,
    )
    if not due:
        return UNLIMITED
    taken, turn_at = await _take(service_id, len(due), moment, policy)
    if not taken.count:
        raise OverLimit(service_id)
    return Allowance(due[taken.count - 1]["position"], turn_at, taken)


async def find_when_free(service_id: UUID, moment: datetime, policy: TurnPolicy) -> None:
    """Write down when the limits of the service allow more, for all workers to see. Call it inside a transaction."""
    await _take(service_id, 0, moment, policy)


async def _take(service_id: UUID, wanted: int, moment: datetime, policy: TurnPolicy) -> tuple[Taken, datetime | None]:
    last_turn_at = await lock_subject(service_id)
    pacing, per_transaction = await _pacing(service_id)
    turn_at = _turn(pacing, last_turn_at, moment)
    ahead = timedelta(seconds=policy.ahead)
    if turn_at is not None:
        wanted = min(wanted, per_transaction or policy.recipients) if turn_at - ahead <= moment else 0
    taken, free_at = await take(service_id, pacing.recipients, wanted, moment)
    if taken.count:
        last_turn_at = turn_at or last_turn_at
    following = _turn(pacing, last_turn_at, moment)
    if following is not None:
        free_at = max(free_at, following - ahead)
    await set_pace(service_id, last_turn_at, free_at if free_at > moment else None)
    return taken, turn_at


async def _pacing(service_id: UUID) -> tuple[Pacing, int | None]:
    """The pacing, and how many recipients one transaction may have, where the service says so."""
    # Read once the lock is held: whoever changed the limits before has committed by then.
    columns = ", ".join((*COLUMNS, "max_recipients_per_transaction"))
    found = await rows(f"SELECT {columns} FROM service WHERE id = $1", service_id)  # noqa: S608
    return (pacing_of(found[0]), found[0]["max_recipients_per_transaction"]) if found else (Pacing(None, {}), None)


def _turn(pacing: Pacing, last_turn_at: datetime | None, moment: datetime) -> datetime | None:
    if pacing.messages_per_second is None:
        return None
    return next_turn(last_turn_at, pacing.messages_per_second, moment)

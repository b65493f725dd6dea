"""Outcomes, attempt rows and events in one transaction, only while the lease holds."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from app.database.connection import execute, execute_many, in_transaction
from app.events.record import record
from app.limits.counter import give_back
from app.queue.announce import announce
from app.queue.attempts import write_attempts
from app.queue.claim import Claim, check_lease, end_lease
from app.queue.derive import refresh_message
from app.queue.route import Detour
from app.queue.settlement import Settlement, ended_attempt, happening_of, write_recipients
from app.queue.states import RecipientState

__all__ = ["Judge", "Note", "Settlement", "settle"]

Judge = Callable[[bool], Sequence[Settlement]]
Note = Callable[[], Awaitable[None]]


async def settle(
    claim: Claim,
    judge: Judge,
    started_at: datetime,
    moment: datetime,
    *,
    last: bool = True,
    note: Note | None = None,
    detour: Detour | None = None,
) -> bool:
    """Write what `judge(verdict_awaited)` says of claimed recipients. With `last` they must be all that are still
    claimed, and the lease ends; else it goes on for the others.

    False, and nothing written, when the lease was lost meanwhile: another worker has the message now.
    `judge` runs inside the transaction, because whether a client still waits must not change under it; so does `note`,
    which writes down what else the attempt found out. Where `detour` finds another service, what was not tried is
    queued for that one, and the client goes on waiting. The transaction is urgent, because a process that dies before
    it is committed leaves mail that is sent a second time.
    """
    return await in_transaction(
        lambda: _settle(claim, judge, started_at, moment, last=last, note=note, detour=detour), urgent=True
    )


async def _settle(
    claim: Claim,
    judge: Judge,
    started_at: datetime,
    moment: datetime,
    *,
    last: bool,
    note: Note | None,
    detour: Detour | None,
) -> bool:
    held = await (end_lease(claim, settled=True) if last else check_lease(claim))
    if not held:
        return False
    route = await detour.find() if detour is not None else None
    settlements = judge(bool(held[0]["verdict_awaited"]) and route is None)
    tried = [settlement for settlement in settlements if not settlement.untried]
    await write_recipients(tried, started_at, moment)
    ended = [ended_attempt(settlement) for settlement in tried]
    await write_attempts(claim.message_id, claim.worker_id, ended, started_at, moment, claim.via)
    untried = [settlement for settlement in settlements if settlement.untried]
    await _give_back(untried, RecipientState.DEFERRED if route is None else RecipientState.QUEUED)
    if route is not None and detour is not None:
        await detour.take()
    if note is not None:
        await note()
    told = settlements if route is None else tried
    await record([happening_of(claim.message_id, settlement) for settlement in told], moment)
    if last:
        await refresh_message(claim.message_id, moment)
    await announce(claim.message_id)
    if any(settlement.state is RecipientState.DEFERRED for settlement in told):
        await execute("UPDATE message SET verdict_awaited = $2 WHERE id = $1", claim.message_id, False)
    if claim.taken is not None:
        await give_back(claim.taken, len(settlements) - len(tried))
    return True


async def _give_back(settlements: Sequence[Settlement], state: RecipientState) -> None:
    await execute_many(
        "UPDATE recipient SET state = $2, attempt_number = attempt_number - 1, detail = $3 WHERE id = $1",
        [(s.recipient_id, state.value, s.detail) for s in settlements],
    )

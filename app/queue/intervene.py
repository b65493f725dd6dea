"""Cancel, reschedule, hold, release and retry accepted mail, as far as it is not too late.

Each verb changes those recipients whose state allows it, and tells what became of every one. A recipient that a worker
is sending right now is never touched.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from app.access.policy import owns, require_intervene, visible_services
from app.access.principal import Action, Principal
from app.audit.record import AuditAction, Subject, record
from app.database.connection import as_key, as_moment, execute, finish, rows, transaction
from app.errors import ErrorCode, InvalidInput, NotFound, Problem
from app.queue.change import (
    CANCEL,
    HOLD,
    RELEASE,
    RESCHEDULE,
    RETRY,
    RecipientChange,
    Verb,
    change_recipients,
)
from app.queue.engine import Engine, Job
from app.queue.lock import LEASE_GRACE, LockedMessage, lock_message
from app.queue.route import start_at_own
from app.queue.schedule import Schedule, check_schedule
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup

_ACTIONS = {
    CANCEL: AuditAction.CANCEL_EMAIL,
    HOLD: AuditAction.HOLD_EMAIL,
    RELEASE: AuditAction.RELEASE_EMAIL,
    RESCHEDULE: AuditAction.RESCHEDULE_EMAIL,
    RETRY: AuditAction.RETRY_EMAIL,
}


@dataclass(frozen=True, slots=True)
class Intervention:
    """What became of each recipient, in their order. `problem` says why, when none could be changed."""

    recipients: tuple[RecipientChange, ...]
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Intervener:
    """Every verb needs MANAGE_SERVICES on the message's service, or SEND on it for mail that the same role sent.

    All raise NotFound where the message does not exist or may not be seen, and Forbidden. `max_ahead`: how many
    seconds ahead a mail may be scheduled. `lease_grace`: so many seconds after a lease that no worker has found to be
    lost, the mail still counts as being sent.
    """

    engine: Engine
    wakeup: Wakeup
    max_ahead: float
    lease_grace: float = LEASE_GRACE

    async def cancel(self, message_id: UUID, by: Principal, moment: datetime) -> Intervention:
        """Never send it to those who have not got it: queued, deferred and held recipients become cancelled."""
        return await finish(self._intervene(message_id, by, moment, CANCEL))

    async def hold(self, message_id: UUID, by: Principal, moment: datetime) -> Intervention:
        """Keep queued and deferred recipients back until `release`. `expires_at` goes on counting."""
        return await finish(self._intervene(message_id, by, moment, HOLD))

    async def release(self, message_id: UUID, by: Principal, moment: datetime) -> Intervention:
        """Queue held recipients again: at once, or when the mail was scheduled for, if that is still to come."""
        return await finish(self._intervene(message_id, by, moment, RELEASE))

    async def reschedule(self, message_id: UUID, send_at: datetime, by: Principal, moment: datetime) -> Intervention:
        """Try queued and deferred recipients at `send_at` (in UTC; a past one: at once), held ones once released.

        Raises InvalidInput when it is too far ahead, or not before the mail expires.
        """
        return await finish(self._intervene(message_id, by, moment, RESCHEDULE, send_at))

    async def retry(self, message_id: UUID, by: Principal, moment: datetime) -> Intervention:
        """Try failed and expired recipients again, at once; the count of their attempts goes on.

        None can be when the mail's own `expires_at` has passed, or its service was deleted.
        """
        return await finish(self._intervene(message_id, by, moment, RETRY))

    async def _intervene(
        self, message_id: UUID, by: Principal, moment: datetime, verb: Verb, send_at: datetime | None = None
    ) -> Intervention:
        async with transaction():
            message = await _permitted(message_id, by, moment, self.lease_grace)
            if verb is RESCHEDULE:
                self._refuse_schedule(message, send_at, moment)
            barred = _barred(message, verb, moment)
            if barred is not None:
                verb = replace(verb, sources=frozenset())
            due_at = _due_at(message, verb, send_at, moment)
            changes = await change_recipients(message, verb, moment, due_at)
            if any(change.changed for change in changes):
                if verb is RESCHEDULE:
                    await execute("UPDATE message SET scheduled_at = $2 WHERE id = $1", message_id, send_at)
                if verb is RETRY:
                    await _begin_anew(message_id)
                await self._submit(message)
                if message.role_id != by.role_id:
                    await _record(by, message, verb, changes, send_at, moment)
        self.wakeup.message_changed(message_id)
        self.wakeup.work_arrived()
        return Intervention(changes, barred or _problem(changes, verb))

    def _refuse_schedule(self, message: LockedMessage, send_at: datetime | None, moment: datetime) -> None:
        problems = check_schedule(Schedule(send_at, message.expires_at), moment, self.max_ahead)
        if problems:
            raise InvalidInput(problems=problems)

    async def _submit(self, message: LockedMessage) -> None:
        """Tell the engine; while a worker holds the message, the end of its attempt does."""
        if message.is_leased or message.service_id is None:
            return
        (row,) = await rows(
            "SELECT due_at, COALESCE(route_id, service_id) AS route_id FROM message WHERE id = $1", message.id
        )
        due_at: datetime | str | None = row["due_at"]
        if due_at is not None:
            job = Job(message.id, as_key(row["route_id"]), as_moment(due_at), message.priority)
            await self.engine.submit([job])


async def _permitted(message_id: UUID, by: Principal, moment: datetime, lease_grace: float) -> LockedMessage:
    message = await lock_message(message_id, moment, lease_grace)
    if message is None:
        raise NotFound("There is no such message.", field=("id",))
    own = owns(by, message.role_id)
    known = visible_services(by, Action.READ_MESSAGES, Action.MANAGE_SERVICES).includes(message.service_id)
    if not own and not known:
        raise NotFound("There is no such message.", field=("id",))
    require_intervene(by, message.service_id, own=own)
    return message


async def _record(
    by: Principal,
    message: LockedMessage,
    verb: Verb,
    changes: tuple[RecipientChange, ...],
    send_at: datetime | None,
    moment: datetime,
) -> None:
    """Mail of one's own role is not administered but used; of other mail the log tells no address."""
    changed = [change for change in changes if change.changed]
    before: dict[str, object] = {"scheduledAt": message.scheduled_at} if verb is RESCHEDULE else {}
    told = {"scheduledAt": send_at} if verb is RESCHEDULE else {"state": verb.target and verb.target.name}
    after = {**told, "changedRecipients": len(changed)}
    await record(by, _ACTIONS[verb], Subject("msg", message.id), moment, before=before, after=after)


async def _begin_anew(message_id: UUID) -> None:
    """Workers lost before do not count; and who waited for a verdict has had one, so a fault of the service defers."""
    await execute("UPDATE message SET crashes = 0, verdict_awaited = $2 WHERE id = $1", message_id, False)
    await start_at_own(message_id)


def _barred(message: LockedMessage, verb: Verb, moment: datetime) -> Problem | None:
    """Why no recipient can be retried, whatever its state."""
    if verb is RETRY and message.service_id is None:
        return Problem(ErrorCode.WRONG_STATE, "Too late: its service was deleted.", ("id",))
    if verb is RETRY and message.expires_at is not None and message.expires_at <= moment:
        return Problem(ErrorCode.WRONG_STATE, "Too late: the mail's own expiresAt has passed.", ("id",))
    return None


def _due_at(message: LockedMessage, verb: Verb, send_at: datetime | None, moment: datetime) -> datetime | None:
    if verb is RESCHEDULE:
        return max(send_at or moment, moment)
    if verb is RELEASE:
        return max(message.scheduled_at or moment, moment)
    return None


def _problem(changes: tuple[RecipientChange, ...], verb: Verb) -> Problem | None:
    if any(change.changed for change in changes):
        return None
    states = sorted({change.state for change in changes})
    allowed = ", ".join(sorted(verb.sources))
    message = f"Nothing was changed: the recipients are {', '.join(states)}; only what is {allowed} could be."
    if set(states) <= {RecipientState.CLAIMED, RecipientState.SENT}:
        message = f"Too late: {'it is being sent right now' if RecipientState.CLAIMED in states else 'it was sent'}."
    return Problem(ErrorCode.WRONG_STATE, message, ("id",), retryable=RecipientState.CLAIMED in states)

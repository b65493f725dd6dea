"""Why a mail has not left yet, and when it probably will. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from app.limits.window import LENGTHS, Span
from app.queue.states import CLAIMABLE, SETTLED, RecipientState
from app.services.usage import LimitName, Usage

_R = RecipientState


class Cause(StrEnum):
    """What keeps a mail back, in the order in which it has to get past."""

    SCHEDULED = "scheduled"
    HELD = "held"
    SERVICE_INACTIVE = "service_inactive"
    SERVICE_PAUSED = "service_paused"
    CIRCUIT_OPEN = "circuit_open"
    FALLBACK = "fallback"
    NO_WORKER = "no_worker"
    DAILY_QUOTA = "daily_quota"
    RATE_LIMIT = "rate_limit"
    BACKOFF = "backoff"
    IN_TURN = "in_turn"
    EXPIRY = "expiry"
    SENDING = "sending"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps it back: a sentence, and when it ends; None where nobody knows, as with a pause."""

    cause: Cause
    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every reason, in order; none for a settled mail. `eta`: when the next recipient will probably be tried, None
    where that cannot be foreseen."""

    reasons: tuple[Reason, ...]
    eta: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A recipient: its state, when it is due, how often it was tried, and what the last attempt met."""

    state: RecipientState
    due_at: datetime | None
    attempts: int = 0
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """What lies between the queue and the server: the service, its circuit, its limits, the workers.

    `fault` and `probe_at` belong to an open circuit; without a fault, new credentials are being proven. `lease_until`:
    how long a worker has the mail, if it does not renew that. `ahead`: how many due messages of the service go first;
    as many as are counted, `counted`, may mean more. `others`: by which it does not leave now.
    """

    is_active: bool = True
    paused_at: datetime | None = None
    paused_reason: str | None = None
    fault: str | None = None
    probe_at: datetime | None = None
    lease_until: datetime | None = None
    has_worker: bool = True
    usages: tuple[Usage, ...] = ()
    others: tuple["Other", ...] = ()
    ahead: int = 0
    counted: int = 1000


@dataclass(frozen=True, slots=True)
class Other:
    """Another service by which the mail might leave: its own one, or a fallback; and what is in the way, if known."""

    name: str
    is_own: bool
    is_shut: bool = False
    fault: str | None = None


def explain(
    recipients: Sequence[Waiting],
    scheduled_at: datetime | None,
    way: Way,
    moment: datetime,
    expires_at: datetime | None = None,
) -> Explanation:
    """Why those recipients that are not settled have not left yet at `moment`."""
    waiting = [_as_found(recipient, way, moment) for recipient in recipients if recipient.state not in SETTLED]
    if any(recipient.state is _R.CLAIMED for recipient in waiting):
        return Explanation((Reason(Cause.SENDING, "A worker is sending it right now.", moment),), moment)
    due = [recipient.due_at for recipient in waiting if recipient.state in CLAIMABLE and recipient.due_at is not None]
    reasons = (
        *_of_schedule(waiting, scheduled_at, moment),
        *_of_hold(waiting),
        *(_of_service(way, moment) if waiting else ()),
        *(_of_workers(way) if waiting else ()),
        *(_of_limits(way, moment) if due else ()),
        *_of_backoff(waiting, moment),
    )
    if not due:
        return Explanation(reasons, None)
    eta = _eta(reasons, min(due), way, moment)
    if all(reason.cause is Cause.FALLBACK for reason in reasons):
        reasons = (*reasons, Reason(Cause.IN_TURN, _turn(way), eta))
    if eta is not None and expires_at is not None and eta >= expires_at:
        too_late = Reason(Cause.EXPIRY, f"It expires before that, at {_shown(expires_at)}.", expires_at)
        return Explanation((*reasons, too_late), None)
    return Explanation(reasons, eta)


def _as_found(recipient: Waiting, way: Way, moment: datetime) -> Waiting:
    """One that a lost worker had claimed is due for the next worker."""
    is_lost = way.lease_until is None or way.lease_until <= moment
    if recipient.state is _R.CLAIMED and is_lost:
        return replace(recipient, state=_R.QUEUED, due_at=way.lease_until or moment)
    return recipient


def _of_schedule(waiting: Sequence[Waiting], scheduled_at: datetime | None, moment: datetime) -> list[Reason]:
    if not waiting or scheduled_at is None or scheduled_at <= moment:
        return []
    return [Reason(Cause.SCHEDULED, f"It is scheduled for {_shown(scheduled_at)}.", scheduled_at)]


def _of_hold(waiting: Sequence[Waiting]) -> list[Reason]:
    held = sum(recipient.state is _R.HELD for recipient in waiting)
    if not held:
        return []
    who = "It is" if held == len(waiting) else f"{held} of {len(waiting)} recipients are"
    return [Reason(Cause.HELD, f"{who} held until releaseEmail.")]


def _of_service(way: Way, moment: datetime) -> list[Reason]:
    reasons = [Reason(Cause.SERVICE_INACTIVE, "The service is not active.")] if not way.is_active else []
    if way.paused_at is not None:
        text = f"The service has been paused since {_shown(way.paused_at)}: {way.paused_reason}"
        reasons.append(Reason(Cause.SERVICE_PAUSED, text))
    if way.probe_at is not None and way.fault is None and way.probe_at > moment:
        reasons.append(Reason(Cause.CIRCUIT_OPEN, "Another mail proves the service's credentials first.", way.probe_at))
    if way.probe_at is not None and way.fault is not None:
        text = f"The server cannot be talked to: {way.fault} It is tried again at {_shown(way.probe_at)}."
        reasons.append(Reason(Cause.CIRCUIT_OPEN, text, way.probe_at))
    if way.fault is not None or any(other.is_own for other in way.others):
        reasons += [Reason(Cause.FALLBACK, _instead(other)) for other in way.others]
    return reasons


def _instead(other: Other) -> str:
    what = "It leaves by a fallback, not by its own service" if other.is_own else "It does not leave by the fallback"
    why = ": that is paused, or not active." if other.is_shut else f": its server cannot be talked to: {other.fault}"
    return f"{what} {other.name}{why if other.is_shut or other.fault else '.'}"


def _of_workers(way: Way) -> list[Reason]:
    return [] if way.has_worker else [Reason(Cause.NO_WORKER, "No worker is running.")]


def _of_limits(way: Way, moment: datetime) -> list[Reason]:
    """The daily quota first: it takes longest."""
    full = [usage for usage in way.usages if usage.free_at is not None and usage.free_at > moment]
    reasons = []
    for usage in sorted(full, key=lambda usage: _WINDOWS[usage.name], reverse=True):
        cause = Cause.DAILY_QUOTA if usage.name is LimitName.RECIPIENTS_PER_DAY else Cause.RATE_LIMIT
        what, _, window = usage.name.value.partition("_per_")
        reasons.append(Reason(cause, f"The limit of {usage.limit:g} {what} per {window} is reached.", usage.free_at))
    return reasons


_WINDOWS = {
    LimitName.MESSAGES_PER_SECOND: timedelta(seconds=1),
    LimitName.RECIPIENTS_PER_MINUTE: LENGTHS[Span.MINUTE],
    LimitName.RECIPIENTS_PER_HOUR: LENGTHS[Span.HOUR],
    LimitName.RECIPIENTS_PER_DAY: LENGTHS[Span.DAY],
}


def _of_backoff(waiting: Sequence[Waiting], moment: datetime) -> list[Reason]:
    deferred = [
        recipient
        for recipient in waiting
        if recipient.state is _R.DEFERRED and recipient.due_at is not None and recipient.due_at > moment
    ]
    if not deferred:
        return []
    first = min(deferred, key=lambda recipient: recipient.due_at or moment)
    tried = f"{first.attempts} attempt{'s' if first.attempts != 1 else ''}"
    last = f": {first.last}" if first.last else ""
    return [Reason(Cause.BACKOFF, f"It waits after {tried}{last}", first.due_at)]


def _eta(reasons: Sequence[Reason], due_at: datetime, way: Way, moment: datetime) -> datetime | None:
    """Not before anything that keeps all of it back ends, and after those that go first. A backoff is in `due_at`, a
    hold keeps back only those that are held, and another service is no way out until it is."""
    keeping = [reason.until for reason in reasons if reason.cause not in (Cause.BACKOFF, Cause.HELD, Cause.FALLBACK)]
    ends = [until for until in keeping if until is not None]
    if len(ends) < len(keeping):
        return None
    free = max(moment, due_at, *ends)
    return max([free, *(_room(usage, way.ahead, free) for usage in way.usages)])


def _room(usage: Usage, ahead: int, free: datetime) -> datetime:
    """When the limit lets one more go after `ahead` others, each with one recipient."""
    if usage.name is LimitName.MESSAGES_PER_SECOND:
        return free + timedelta(seconds=ahead / usage.limit)
    limit, window = int(usage.limit), _WINDOWS[usage.name]
    room = max(0, limit - usage.used)
    if ahead < room:
        return free
    return free + (ahead - room) // limit * window + (window if room else timedelta())


def _turn(way: Way) -> str:
    if not way.ahead:
        return "It is due, and the next one to be sent."
    number = f"{way.ahead}{' or more' if way.ahead >= way.counted else ''}"
    return f"It is due; {number} message{'s' if way.ahead != 1 else ''} of the service go first."


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")

"""When to try again. Pure: the time and the jitter are passed in."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`schedule`: seconds from one attempt to the next, the last one repeating. `jitter`: the share by which a
    delay may be longer or shorter. `give_up_after`: seconds from the first attempt after which nothing is tried.
    `max_asked_delay`: what a server asks beyond these seconds is not honoured."""

    schedule: tuple[float, ...]
    jitter: float
    give_up_after: float
    max_asked_delay: float = 24 * 3600


def next_attempt(
    number: int,
    tried_since: datetime,
    moment: datetime,
    policy: RetryPolicy,
    jitter: float,
    *,
    asked: float | None = None,
    expires_at: datetime | None = None,
) -> datetime | None:
    """When to try again after attempt `number` (from 1) failed for now; None when it is time to give up.

    `jitter` is drawn by the caller from -1 to 1 and scaled by the policy's share. `asked` is how many seconds the
    server asked to wait: they replace the schedule's delay, are never cut short by jitter, and are at least the
    schedule's first delay, or its last one once the schedule has run out. Nothing is tried from `expires_at` on.
    """
    delay = policy.schedule[min(number, len(policy.schedule)) - 1]
    if asked is not None:
        least = policy.schedule[0] if number < len(policy.schedule) else delay
        delay, jitter = max(least, min(asked, policy.max_asked_delay)), abs(jitter)
    due = moment + timedelta(seconds=delay * (1 + policy.jitter * jitter))
    end = tried_since + timedelta(seconds=policy.give_up_after)
    return due if due <= end and (expires_at is None or due < expires_at) else None

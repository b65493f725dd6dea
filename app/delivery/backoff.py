"""When to try again. Pure: the time and the jitter are passed in."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`schedule`: seconds from one attempt to the next, the last one repeating. `jitter`: the share by which a
    delay may be longer or shorter. `give_up_after`: seconds from acceptance after which nothing is tried."""

    schedule: tuple[float, ...]
    jitter: float
    give_up_after: float


def next_attempt(
    number: int, accepted_at: datetime, moment: datetime, policy: RetryPolicy, jitter: float
) -> datetime | None:
    """When to try again after attempt `number` (from 1) failed for now; None when it is time to give up.

    `jitter` is drawn by the caller from -1 to 1 and scaled by the policy's share.
    """
    delay = policy.schedule[min(number, len(policy.schedule)) - 1]
    due = moment + timedelta(seconds=delay * (1 + policy.jitter * jitter))
    end = accepted_at + timedelta(seconds=policy.give_up_after)
    return due if due <= end else None

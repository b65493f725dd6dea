"""When a mail may be sent, as its author asks: not before, not after, before others."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.errors import ErrorCode, InvalidInput, Problem
from app.queue.engine import Priority


@dataclass(frozen=True, slots=True)
class Schedule:
    """`send_at`: not tried before it; None, or a moment that has passed, is at once. `expires_at`: not tried from it
    on. Both in UTC."""

    send_at: datetime | None = None
    expires_at: datetime | None = None
    priority: Priority = Priority.NORMAL


AT_ONCE = Schedule()


def in_utc(moment: datetime | None, *field: str) -> datetime | None:
    """The same moment in UTC. Raises InvalidInput for one without an offset from UTC, or out of range in UTC."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidInput(f"{field[-1]} needs an offset from UTC, e.g. 2026-11-22T12:00:00Z.", field=field)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{field[-1]} is not between the years 1 and 9999 in UTC.", field=field) from None


def check_schedule(schedule: Schedule, moment: datetime, max_ahead: float) -> tuple[Problem, ...]:
    """What is wrong with it at `moment`: sent more than `max_ahead` seconds ahead, or expired before it can be sent."""
    return tuple(_problems(schedule, moment, max_ahead))


def _problems(schedule: Schedule, moment: datetime, max_ahead: float) -> Iterator[Problem]:
    send_at = max(schedule.send_at or moment, moment)
    if send_at - moment > timedelta(seconds=max_ahead):
        message = f"sendAt is more than {max_ahead / 86400:g} days ahead."
        yield Problem(ErrorCode.INVALID_INPUT, message, ("send_at",))
    if schedule.expires_at is not None and schedule.expires_at <= send_at:
        message = "expiresAt has passed." if schedule.expires_at <= moment else "expiresAt is not after sendAt."
        yield Problem(ErrorCode.INVALID_INPUT, message, ("expires_at",))

"""What services have used of their limits, and when more is free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.limits.counter import read_buckets, read_last_turns
from app.limits.turn import next_turn, turns_to_come
from app.limits.window import Buckets, Span, free_at, used_at
from app.services.pacing import pacing_of


class LimitName(StrEnum):
    """The limits of a service that are used up, and free again with time."""

    MESSAGES_PER_SECOND = "messages_per_second"
    RECIPIENTS_PER_MINUTE = "recipients_per_minute"
    RECIPIENTS_PER_HOUR = "recipients_per_hour"
    RECIPIENTS_PER_DAY = "recipients_per_day"


_NAMES = {
    Span.MINUTE: LimitName.RECIPIENTS_PER_MINUTE,
    Span.HOUR: LimitName.RECIPIENTS_PER_HOUR,
    Span.DAY: LimitName.RECIPIENTS_PER_DAY,
}


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of one limit is used; `free_at`: when something is free again, None when something is free now."""

    name: LimitName
    used: int
    limit: float
    free_at: datetime | None


@dataclass(frozen=True, slots=True)
class Used:
    """What is known of one service at `moment`."""

    moment: datetime
    buckets: Mapping[Span, Buckets]
    last_turn_at: datetime | None


async def read_used(service_ids: Sequence[UUID], moment: datetime) -> list[Used]:
    """What each of the services has used, in the same order."""
    buckets = await read_buckets(service_ids, moment)
    turns = await read_last_turns(service_ids)
    return [Used(moment, buckets[key], turns.get(key)) for key in service_ids]


def usage_of(columns: Mapping[str, Any], used: Used) -> list[Usage]:
    """The usage of each limit that is set in a service's columns. Pure."""
    pacing, moment = pacing_of(columns), used.moment
    usages = []
    if (rate := pacing.messages_per_second) is not None:
        to_come = turns_to_come(used.last_turn_at, rate, moment)
        free = next_turn(used.last_turn_at, rate, moment)
        usages.append(Usage(LimitName.MESSAGES_PER_SECOND, to_come, rate, free if free > moment else None))
    for span, limit in pacing.recipients.items():
        count = used_at(used.buckets[span], moment, span)
        free = free_at(used.buckets[span], moment, span, limit)
        usages.append(Usage(_NAMES[span], count, limit, free if free > moment else None))
    return usages

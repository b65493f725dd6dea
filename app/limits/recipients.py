"""Limits of recipients per minute, hour and day: as given, as columns of a row, and what is wrong with them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import ErrorCode, Problem
from app.limits.window import Limits, Span

MAX_RECIPIENTS = 1_000_000_000

COLUMNS: Mapping[Span, str] = {
    Span.MINUTE: "recipients_per_minute",
    Span.HOUR: "recipients_per_hour",
    Span.DAY: "recipients_per_day",
}
"""The column of the limit in each window."""


@dataclass(frozen=True, slots=True)
class RecipientLimits:
    """At most so many in any window of each length; None: no limit."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None


NO_LIMITS = RecipientLimits()


def check_limits(limits: RecipientLimits) -> Iterator[Problem]:
    """What is wrong, each problem with the path of its field as GraphQL names it."""
    given = (("perMinute", limits.per_minute), ("perHour", limits.per_hour), ("perDay", limits.per_day))
    for path, limit in given:
        if limit is not None and not 1 <= limit <= MAX_RECIPIENTS:
            message = f"The limit is from 1 to {MAX_RECIPIENTS}, or null for none."
            yield Problem(ErrorCode.INVALID_INPUT, message, ("limits", path))


def columns_of(limits: RecipientLimits) -> dict[str, int | None]:
    """The limits as a row's columns."""
    return dict(zip(COLUMNS.values(), (limits.per_minute, limits.per_hour, limits.per_day), strict=True))


def given_limits(columns: Mapping[str, Any], prefix: str = "") -> RecipientLimits:
    """The limits in a row's columns, whose names have the prefix, as they were given."""
    return RecipientLimits(*(columns[prefix + name] for name in COLUMNS.values()))


def limits_of(columns: Mapping[str, Any], prefix: str = "") -> Limits:
    """Those limits that are set in a row's columns, whose names have the prefix."""
    named = {span: columns[prefix + name] for span, name in COLUMNS.items()}
    return {span: limit for span, limit in named.items() if limit is not None}

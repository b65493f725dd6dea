"""How much a service may send, and how fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.limits.counter import Limits
from app.limits.window import Span

RECIPIENTS: Mapping[Span, str] = {
    Span.MINUTE: "recipients_per_minute",
    Span.HOUR: "recipients_per_hour",
    Span.DAY: "recipients_per_day",
}
"""The column of the limit in each window."""

COLUMNS = ("messages_per_second", *RECIPIENTS.values())


@dataclass(frozen=True, slots=True)
class Pacing:
    """What is set: messages per second, None for as fast as it goes, and recipients per window."""

    messages_per_second: float | None
    recipients: Limits


def pacing_of(columns: Mapping[str, Any]) -> Pacing:
    """The pacing in a service's columns."""
    limits = {span: columns[name] for span, name in RECIPIENTS.items() if columns[name] is not None}
    return Pacing(columns["messages_per_second"], limits)

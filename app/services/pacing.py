"""How much a service may send, and how fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.limits import recipients
from app.limits.window import Limits

COLUMNS = ("messages_per_second", *recipients.COLUMNS.values())


@dataclass(frozen=True, slots=True)
class Pacing:
    """What is set: messages per second, None for as fast as it goes, and recipients per window."""

    messages_per_second: float | None
    recipients: Limits


def pacing_of(columns: Mapping[str, Any]) -> Pacing:
    """The pacing in a service's columns."""
    return Pacing(columns["messages_per_second"], recipients.limits_of(columns))

"""Arithmetic of turns: so many per second, evenly spaced, whoever takes them. Pure."""

from datetime import datetime, timedelta


def next_turn(last: datetime | None, per_second: float, moment: datetime) -> datetime:
    """The first free turn from `moment` on, when `last` is the last one given. 0.2 per second is one in 5 seconds."""
    if last is None:
        return moment
    return max(moment, last + timedelta(seconds=1 / per_second))


def turns_to_come(last: datetime | None, per_second: float, moment: datetime) -> int:
    """How many turns that were given are not over at `moment`: a turn is over when the next one begins."""
    if last is None:
        return 0
    spacing = timedelta(seconds=1 / per_second)
    ahead = last + spacing - moment
    return max(0, -(-ahead // spacing))

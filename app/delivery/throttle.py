"""The provider's rate: wait for the turn that a claim was given."""

import asyncio
from datetime import datetime

from app.clock import now


async def wait_for_turn(turn_at: datetime | None) -> None:
    """Return when the turn has come, never before; at once where there is none."""
    if turn_at is None:
        return
    # The clock may be set, and a sleep may end a little early.
    while (early := (turn_at - now()).total_seconds()) > 0:  # noqa: ASYNC110 - nothing else can tell
        await asyncio.sleep(early)

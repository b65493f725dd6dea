"""Where one process accepts mail and delivers it, accepting goes before: a client waits for its answer, and what is in
the queue is safe."""

import asyncio
from dataclasses import dataclass

from app.delivery.unsettled import Unsettled
from app.queue.wakeup import Wakeup


@dataclass(frozen=True, slots=True)
class GiveWayPolicy:
    """While so many mails or more are `being_accepted` at once, a worker claims at most `claims` at a time, and rests
    for `pause` seconds before."""

    being_accepted: int = 8
    claims: int = 12
    pause: float = 0.01


async def before_claiming(wakeup: Wakeup, policy: GiveWayPolicy, unsettled: Unsettled) -> int | None:
    """Rest, if that is to be, and see `unsettled`; returns how many mails may be claimed then, None: all that wait."""
    gives_way = wakeup.being_accepted >= policy.being_accepted
    if gives_way:
        await asyncio.sleep(policy.pause)
    await unsettled.before_claiming()
    return policy.claims if gives_way else None

"""Where one process accepts mail and delivers it, accepting goes before: a client waits for its answer, and what is in
the queue is safe."""

import asyncio
from dataclasses import dataclass

from app.database.connection import dialect
from app.delivery.unsettled import Unsettled
from app.queue.intake import Intake


@dataclass(frozen=True, slots=True)
class GiveWayPolicy:
    """While mail is being accepted, a worker claims at most `claims` mails at a time, once `accepted` mails for each of
    these have been accepted since it claimed last. Where it has waited for that for `pause` seconds, so little is
    accepted that it claims all that wait. Results wait at most `settle_wait` seconds for a transaction of the mails
    that are being accepted, to share its commit."""

    claims: int = 8
    accepted: int = 4
    pause: float = 0.1
    settle_wait: float = 0.02


class GiveWay:
    """Of one worker, to what its process takes in."""

    def __init__(self, intake: Intake, unsettled: Unsettled, policy: GiveWayPolicy) -> None:
        self._intake = intake
        self._unsettled = unsettled
        self._policy = policy
        self._ended = 0
        """How many mails had been accepted when it claimed last."""

    async def before_claiming(self) -> int | None:
        """Wait for its turn, and see `unsettled`; returns how many mails may be claimed then, None: all that wait."""
        intake = self._intake
        if intake.under_way:
            gives_way = await self._turn()
        else:
            gives_way = intake.ended != self._ended
            await self._unsettled.before_claiming()
        self._ended = intake.ended
        return self._policy.claims if gives_way else None

    async def before_settling(self) -> None:
        """See `unsettled`; then wait for a commit to share."""
        await self._unsettled.before_settling()
        if dialect() == "sqlite":
            await self._intake.next_commit(self._policy.settle_wait)

    async def _turn(self) -> bool:
        """Whether it came in time: once enough was accepted, or nothing is being put any more."""
        loop, intake, policy = asyncio.get_running_loop(), self._intake, self._policy
        enough = self._ended + policy.claims * policy.accepted
        until = loop.time() + policy.pause
        while intake.under_way and (left := until - loop.time()) > 0:
            if intake.ended >= enough and dialect() == "postgres":  # where no commit is shared
                break
            await intake.next_commit(left)
            if intake.ended >= enough:
                break
        return intake.ended >= enough or not intake.under_way

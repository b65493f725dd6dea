"""Where one process accepts mail and delivers it, accepting goes before: a client waits for its answer, and what is in
the queue is safe."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.database.connection import dialect
from app.delivery.unsettled import Unsettled
from app.queue.intake import Intake

_MOMENT = 0.001
"""Seconds: it looks no sooner again whether it has time."""


@dataclass(frozen=True, slots=True)
class GiveWayPolicy:
    """While mail is being accepted, a worker claims at most `claims` mails at a time: once its process has been at work
    for no more than the share `busy` of the time since it claimed last (1: all the time of one core), or `accepted`
    mails for each of these have been accepted, or `pause` seconds have passed. Results wait at most `settle_wait`
    seconds for a transaction of the mails that are being accepted, to share its commit."""

    claims: int = 8
    busy: float = 0.8
    accepted: int = 16
    pause: float = 0.1
    settle_wait: float = 0.02


class GiveWay:
    """Of one worker, to what its process takes in. `clock` and `cpu`: seconds, and those that the process was at work
    on all its threads."""

    def __init__(
        self,
        intake: Intake,
        unsettled: Unsettled,
        policy: GiveWayPolicy,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._intake = intake
        self._unsettled = unsettled
        self._policy = policy
        self._clock = clock
        self._cpu = cpu
        self._note()

    async def before_claiming(self) -> int | None:
        """Wait for its turn, and see `unsettled`; returns how many mails may be claimed then, None: all that wait."""
        intake = self._intake
        gives_way = intake.under_way or intake.ended != self._ended
        if intake.under_way:
            await self._turn()
        else:
            await self._unsettled.before_claiming()
        self._note()
        return self._policy.claims if gives_way else None

    async def before_settling(self) -> None:
        """See `unsettled`; then wait for a commit to share."""
        await self._unsettled.before_settling()
        if dialect() == "sqlite":
            await self._intake.next_commit(self._policy.settle_wait)

    async def _turn(self) -> None:
        """On SQLite it comes as a transaction begins, or nothing is being put any more."""
        intake, shares_commits = self._intake, dialect() == "sqlite"
        until = self._clock() + self._policy.pause
        while intake.under_way and (left := until - self._clock()) > 0:
            if not shares_commits:
                if self._may_claim():
                    break
                left = min(left, max(_MOMENT, self._seconds_ahead()))
            await intake.next_commit(left)
            if shares_commits and self._may_claim():
                break

    def _may_claim(self) -> bool:
        policy = self._policy
        if self._intake.ended - self._ended >= policy.claims * policy.accepted:
            return True
        return self._seconds_ahead() <= 0

    def _seconds_ahead(self) -> float:
        """How many seconds without work it takes until it has been at work for no more than its share."""
        return (self._cpu() - self._cpu_then) / self._policy.busy - (self._clock() - self._then)

    def _note(self) -> None:
        """It claims now: how many mails have been accepted, and how much work was done."""
        self._ended, self._then, self._cpu_then = self._intake.ended, self._clock(), self._cpu()

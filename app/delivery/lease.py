"""The lease of one claim: renewed for as long as the attempt takes, and sure before the final dot is said."""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from app.clock import Instant
from app.database.finish import finish
from app.database.key import public_id
from app.database.trouble import log_trouble
from app.queue.claim import Claim, begin_dot, renew_lease
from app.queue.doubt import OnDoubt

logger = logging.getLogger(__name__)

_RETRY = OnDoubt.RETRY


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """Seconds: how long a claim holds unrenewed, how often it is renewed, and the pause after database trouble.
    `max_crashes`: a message that was lost with its worker so many times in a row is not tried again by itself."""

    duration: float
    renewal: float
    pause: float
    max_crashes: int = 3


class Leases:
    """Those of one worker. They share a timer for their first renewal: few attempts take so long, and one of their own
    would cost each mail as much as a task."""

    def __init__(self, policy: LeasePolicy, clock: Callable[[], Instant]) -> None:
        self.policy = policy
        self.clock = clock
        self._under_way: set[Lease] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._first = 0.0

    def watch(self, lease: "Lease") -> None:
        """Have it renewed once it is time."""
        self._under_way.add(lease)
        if self._timer is None or lease.confirmed.monotonic < self._first:
            self._set_timer(lease)

    def forget(self, lease: "Lease") -> None:
        """It is over."""
        self._under_way.discard(lease)

    def _set_timer(self, first: "Lease") -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._first = first.confirmed.monotonic
        seconds = self.policy.renewal - first.confirmed.seconds_to(self.clock())
        self._timer = asyncio.get_running_loop().call_later(seconds, self._strike)

    def _strike(self) -> None:
        self._timer, moment = None, self.clock()
        due = [lease for lease in self._under_way if lease.confirmed.seconds_to(moment) >= self.policy.renewal]
        for lease in due:
            lease.begin_to_renew()
        self._under_way.difference_update(due)
        if self._under_way:
            self._set_timer(min(self._under_way, key=lambda lease: lease.confirmed.monotonic))


class Lease:
    """That of one claim. `confirmed`: when the database was asked that last said so, at first when the claim was made;
    read before it was asked. It is kept from `begin` to `end`."""

    __slots__ = ("_claim", "_leases", "_renewing", "confirmed")

    def __init__(self, claim: Claim, leases: Leases, since: Instant) -> None:
        self.confirmed = since
        self._claim = claim
        self._leases = leases
        self._renewing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Renew the lease from now on, until it is lost. One renewal that fails is no reason to lose it."""
        self._leases.watch(self)

    def end(self) -> bool:
        """Renew it no more; whether `ended` is to be waited for. No coroutine: few leases are ever renewed."""
        self._leases.forget(self)
        if self._renewing is None:
            return False
        self._renewing.cancel()
        return True

    async def ended(self) -> None:
        """Return once nothing of it is under way."""
        if self._renewing is not None:
            await asyncio.gather(self._renewing, return_exceptions=True)

    def begin_to_renew(self) -> None:
        """It is time."""
        self._renewing = asyncio.create_task(self._keep())

    def lets_finish(self) -> bool:
        """Whether `may_finish` says so without asking anybody."""
        return self._claim.on_doubt is _RETRY and self._is_sure()

    async def may_finish(self, addresses: Collection[str]) -> bool:
        """Whether the final dot may be said now, for the recipients of these addresses.

        Only while the database has confirmed the lease within half its time: then nobody else can have the message
        before this worker had as long again to settle. Where it has not, or where a loss between dot and settling
        would have to be known of afterwards, it is asked; that it cannot be reached is a no.
        """
        if self.lets_finish():
            return True
        try:
            held = await finish(self._confirm(addresses))
        except Exception as error:
            self._log(error)
            return False
        # Asked again after the answer: the process may have been stopped while it waited.
        return held and self._is_sure()

    async def _confirm(self, addresses: Collection[str]) -> bool:
        if self._claim.on_doubt is _RETRY:
            return await self._renew()
        keys = [recipient.id for recipient in self._claim.recipients if recipient.address in addresses]
        asked = self._leases.clock()
        held = await begin_dot(self._claim, keys, asked.wall, self._leases.policy.duration)
        self._note(asked, held=held)
        return held

    async def _keep(self) -> None:
        """A renewal that took long is no reason to wait with the next: the lease counts from when it was asked for."""
        clock, policy = self._leases.clock, self._leases.policy
        while True:
            asked, pause = clock(), policy.renewal
            try:
                if not await self._renew():
                    return
            except Exception as error:
                self._log(error)
                pause = policy.pause
            await asyncio.sleep(pause - asked.seconds_to(clock()))

    async def _renew(self) -> bool:
        asked = self._leases.clock()
        held = await renew_lease(self._claim, asked.wall, self._leases.policy.duration)
        self._note(asked, held=held)
        return held

    def _note(self, asked: Instant, *, held: bool) -> None:
        if held:
            self.confirmed = asked

    def _is_sure(self) -> bool:
        leases = self._leases
        return self.confirmed.seconds_to(leases.clock()) <= leases.policy.duration / 2

    def _log(self, error: Exception) -> None:
        log_trouble(logger, error, "message %s: lease not renewed", public_id("msg", self._claim.message_id))

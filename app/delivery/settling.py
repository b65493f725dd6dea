"""What an attempt came to is judged and written down, however long that takes."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from app.clock import now
from app.database.finish import finish
from app.database.key import public_id
from app.database.trouble import log_trouble
from app.delivery.backoff import RetryPolicy
from app.delivery.outcome import fault_of, judge_attempt
from app.log import UsualLine
from app.queue.claim import Claim, release_claim
from app.queue.outage import ServiceNote
from app.queue.route import Detour, Route
from app.queue.settle import Settlement, settle
from app.queue.settle_together import FinalResults, Unwritten
from app.queue.wakeup import Wakeup
from app.services.circuit import CircuitPolicy
from app.smtp.transaction import TransactionResult

logger = logging.getLogger("app.delivery.attempt")  # what becomes of an attempt is told in one place

_SETTLED = UsualLine(logger, "message %s: %s")


class Settling:
    """Settles the attempts of one worker. `pause`: seconds after database trouble until it is tried again."""

    def __init__(
        self, retry: RetryPolicy, circuit: CircuitPolicy, finals: FinalResults, wakeup: Wakeup, pause: float
    ) -> None:
        self._retry = retry
        self._circuit = circuit
        self._finals = finals
        self._wakeup = wakeup
        self._pause = pause

    async def settle(self, claim: Claim, result: TransactionResult, started_at: datetime, *, last: bool) -> bool:
        """Write down what became of the recipients of `claim`, `last`: of all that the message has left. False: the
        lease was lost. Cancelled, it is written down all the same, if the database lets it."""
        moment = now()
        if last and result.failure is None and not claim.probing:
            settlements = self._judge(claim, result, moment, verdict_awaited=False)
            try:
                if await self._finals.write(claim, settlements, started_at, moment):
                    _log_settled(claim, settlements, None)
                    self._wakeup.message_changed(claim.message_id)
                    return True
            except Unwritten as cancelled:
                try:
                    await finish(settle(claim, lambda _: settlements, started_at, moment))
                except Exception as error:
                    raise cancelled from error
                raise
        return await self._settle_alone(claim, result, started_at, moment, last=last)

    async def _settle_alone(
        self, claim: Claim, result: TransactionResult, started_at: datetime, moment: datetime, *, last: bool
    ) -> bool:
        settlements: list[Settlement] = []

        def judge(verdict_awaited: bool) -> list[Settlement]:
            nonlocal settlements
            settlements = self._judge(claim, result, moment, verdict_awaited=verdict_awaited)
            return settlements

        fault = fault_of(result, self._retry)
        detour = Detour(claim, fault, moment)
        note = ServiceNote(claim, fault, moment, self._circuit, reached=_reached(result))
        written = False

        async def write() -> bool:
            nonlocal written
            held = await settle(claim, judge, started_at, moment, last=last, note=note.write, detour=detour)
            written = True
            return held

        try:
            held = await self.insist(claim, write)
        except asyncio.CancelledError:
            # What is claimed still was never tried, unless the result is not written: then it may have been sent.
            if written and not last:
                await release(claim)
            raise
        if held:
            note.log()
            _log_settled(claim, settlements, detour.route)
        else:
            logger.warning("message %s: result discarded, the lease was lost", shown(claim))
        self._wakeup.message_changed(claim.message_id)
        self._wakeup.work_arrived()  # others of it may be due, or it is at a fallback now
        return held

    async def give_back(self, claim: Claim) -> None:
        """Release it, however long that takes: it is due again."""
        await self.insist(claim, lambda: release_claim(claim, now()))
        self._wakeup.work_arrived()

    def _judge(
        self, claim: Claim, result: TransactionResult, moment: datetime, *, verdict_awaited: bool
    ) -> list[Settlement]:
        return judge_attempt(claim, result, moment, self._retry, _draw_jitter, verdict_awaited=verdict_awaited)

    async def insist(self, claim: Claim, write: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """What `write` says, however long it takes: a result that is not written down is a mail that is sent again.
        Ends when it is written, or the lease is another worker's."""
        while True:
            try:
                return await finish(write())
            except Exception as error:
                log_trouble(logger, error, "message %s: not written yet", shown(claim))
            await asyncio.sleep(self._pause)


async def release(claim: Claim) -> None:
    """Give back what was claimed, untried, if the database lets it."""
    try:
        await finish(release_claim(claim, now()))
    except Exception as error:
        log_trouble(logger, error, "message %s: not released, its lease will run out", shown(claim))


def shown(claim: Claim) -> str:
    """The message's id, for the log."""
    return public_id("msg", claim.message_id)


def _reached(result: TransactionResult) -> bool:
    """Whether a session with the server was ready for mail."""
    return result.failure is None or not (result.failure.of_service or result.failure.is_internal)


def _log_settled(claim: Claim, settlements: Sequence[Settlement], route: Route | None) -> None:
    if route is None and claim.via is None:
        _SETTLED.write(shown(claim), _tally(settlements))
        return
    own = public_id("svc", claim.own_service_id)
    if route is not None:
        through = public_id("svc", route.service_id)
        logger.info("message %s: goes through %s now, its own service is %s", shown(claim), through, own)
    else:
        through, tally = public_id("svc", claim.service_id), _tally(settlements)
        logger.info("message %s: %s through the fallback %s of %s", shown(claim), tally, through, own)


def _tally(settlements: Sequence[Settlement]) -> str:
    """How many recipients came to which state, e.g. `2 sent, 1 deferred`."""
    if len(settlements) == 1:
        return "1 " + settlements[0].state
    counts = Counter(settlement.state.value for settlement in settlements)
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _draw_jitter() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - spreads retries, guards nothing

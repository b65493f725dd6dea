"""One attempt at one message: claim, connect, transact, judge, settle."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.clock import now
from app.database.connection import is_transient
from app.database.finish import finish
from app.delivery.backoff import RetryPolicy
from app.delivery.outcome import judge_attempt
from app.queue.claim import Claim, claim_message, load_content, release_claim, renew_lease
from app.queue.settle import Settlement, settle
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.smtp.failure import SmtpFailure
from app.smtp.pool import Pool
from app.smtp.server import Server
from app.smtp.transaction import TransactionResult, transact

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """Seconds: how long a claim holds unrenewed, how often it is renewed, and the pause after database trouble."""

    duration: float
    renewal: float
    pause: float


class Attempter:
    """Tries messages for one worker. `resolve` says which server a service means right now."""

    def __init__(
        self,
        worker_id: UUID,
        pool: Pool,
        resolve: Callable[[Service], Server],
        retry: RetryPolicy,
        lease: LeasePolicy,
        wakeup: Wakeup,
    ) -> None:
        self._worker_id = worker_id
        self._pool = pool
        self._resolve = resolve
        self._retry = retry
        self._lease = lease
        self._wakeup = wakeup

    async def attempt(self, message_id: UUID) -> None:
        """Try the due recipients of the message once. Nothing happens when another worker holds it."""
        claim = await finish(claim_message(self._worker_id, message_id, now(), self._lease.duration))
        if claim is None:
            return
        self._wakeup.message_changed(message_id)
        async with self._lease_kept(claim):
            await self._deliver(claim)
        self._wakeup.message_changed(message_id)

    @asynccontextmanager
    async def _lease_kept(self, claim: Claim) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew(claim))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, claim: Claim) -> None:
        """Keep the lease until it is lost. One renewal that fails is no reason to lose it."""
        pause = self._lease.renewal
        while True:
            await asyncio.sleep(pause)
            try:
                if not await renew_lease(claim, now(), self._lease.duration):
                    return
                pause = self._lease.renewal
            except Exception as error:
                logger.warning("message %s: lease not renewed (%s)", claim.message_id, type(error).__name__)
                pause = self._lease.pause

    async def _deliver(self, claim: Claim) -> None:
        started_at = now()
        transacting = False
        try:
            service = await Service.get(id=claim.service_id)
            content = await load_content(claim.message_id)
            server = self._resolve(service)
            async with self._pool.borrow(service.id, service.version, server) as connection:
                transacting = True
                result = await transact(connection, claim.envelope, content, server.timeouts)
        except asyncio.CancelledError:
            if not transacting:
                await finish(release_claim(claim, now()))
            raise
        except SmtpFailure as failed:
            result = TransactionResult({}, failed.failure)
        await self._settle(claim, result, started_at)

    async def _settle(self, claim: Claim, result: TransactionResult, started_at: datetime) -> None:
        moment = now()

        def judge(verdict_awaited: bool) -> list[Settlement]:
            return judge_attempt(claim, result, moment, self._retry, _draw_jitter, verdict_awaited=verdict_awaited)

        if await self._insist(claim, lambda: settle(claim, judge, started_at, moment)):
            logger.info("message %s: attempt settled", claim.message_id)
        else:
            logger.warning("message %s: result discarded, the lease was lost", claim.message_id)

    async def _insist(self, claim: Claim, write: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """What `write` says, however long the database is in trouble: a result that is not written down is a mail
        that is sent again."""
        while True:
            try:
                return await finish(write())
            except Exception as error:
                if not is_transient(error):
                    raise
                logger.warning("message %s: result not written yet (%s)", claim.message_id, type(error).__name__)
            await asyncio.sleep(self._lease.pause)


def _draw_jitter() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - spreads retries, guards nothing

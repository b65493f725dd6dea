"""The background process: starts the loops, stops them gently."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from app.clock import now
from app.database.key import new_key
from app.database.trouble import log_trouble
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.give_way import GiveWayPolicy
from app.delivery.lease import LeasePolicy
from app.delivery.loop import run_delivery
from app.delivery.sweep import run_sweep
from app.delivery.unsettled import UnsettledPolicy
from app.delivery.uptime import Uptime
from app.domains.signing import ContentSigner
from app.housekeeping import run_housekeeping
from app.inbox.capture import Inbox
from app.mail.dkim import MOST_BYTES
from app.queue.engine import Engine
from app.queue.heartbeat import beat, leave
from app.queue.wakeup import Wakeup
from app.services.circuit import CircuitPolicy
from app.services.known_services import KnownServices
from app.services.models import Service, ServiceKind
from app.services.secret import Sealer, SealError
from app.services.server import server_for
from app.settings import Settings
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.pool import Pool
from app.smtp.server import Server

logger = logging.getLogger(__name__)


class Drain:
    """How a process ends gently: from `begin` on nothing new is started, and what is under way has `seconds`, which
    all parts of the process share."""

    def __init__(self, seconds: float) -> None:
        self.begun = asyncio.Event()
        self._seconds = seconds
        self._ends_at: float | None = None

    def begin(self) -> None:
        """Once; later calls change nothing. Call it in the event loop."""
        if self._ends_at is None:
            self._ends_at = asyncio.get_running_loop().time() + self._seconds
            self.begun.set()
            logger.info("stopping: no attempt begins now, and what is under way has %g s", self._seconds)

    def remaining(self) -> float:
        """The seconds left, at least 0; all of them before `begin`."""
        if self._ends_at is None:
            return self._seconds
        return max(0.0, self._ends_at - asyncio.get_running_loop().time())


@asynccontextmanager
async def running_worker(
    settings: Settings, sealer: Sealer, engine: Engine, wakeup: Wakeup, drain: Drain | None = None
) -> AsyncIterator[None]:
    """Deliver mail while the block runs. From `drain.begin` on, at the latest from the block's end, no attempt begins,
    and those under way have the rest of its seconds (default: `drain_timeout`). Then they are released, or broken off
    where the server may have taken the mail."""
    drain = drain or Drain(settings.drain_timeout)
    worker_id = new_key()
    inbox = Inbox(settings.max_message_bytes + MOST_BYTES)
    pool = _pool(settings)
    async with AsyncExitStack() as stack:
        await beat(worker_id, now())
        stack.push_async_callback(_leave, worker_id)
        await inbox.start()
        stack.push_async_callback(inbox.stop)
        stack.push_async_callback(pool.close)
        uptime = Uptime(settings.lease_renewal)
        await stack.enter_async_context(_upkeep(worker_id, settings, pool, uptime, wakeup))
        attempter = _attempter(worker_id, settings, sealer, pool, inbox, engine, wakeup, uptime)
        await stack.enter_async_context(_delivery(engine, attempter, settings, drain, uptime))
        yield


async def _leave(worker_id: UUID) -> None:
    """A worker that cannot say that it leaves is forgotten later."""
    try:
        await leave(worker_id)
    except Exception as error:
        log_trouble(logger, error, "the worker's row could not be deleted")


def _pool(settings: Settings) -> Pool:
    return Pool(
        max_connections=settings.smtp_max_connections,
        max_messages=settings.smtp_max_messages_per_connection,
        idle_limit=settings.smtp_idle_limit,
        noop_after=settings.smtp_noop_after,
        pipelining_pause=settings.smtp_pipelining_pause,
        chunking=settings.smtp_chunking,
        window=settings.smtp_messages_in_flight,
        limit_memory=settings.smtp_connection_limit_memory,
        limit_pause=settings.smtp_connection_limit_pause,
        auth_interval=settings.circuit_auth_interval,
    )


def _attempter(
    worker_id: UUID,
    settings: Settings,
    sealer: Sealer,
    pool: Pool,
    inbox: Inbox,
    engine: Engine,
    wakeup: Wakeup,
    uptime: Uptime,
) -> Attempter:
    servers = _Servers(settings, sealer, inbox)
    return Attempter(
        worker_id,
        pool,
        servers.resolve,
        RetryPolicy(settings.retry_schedule, settings.retry_jitter, settings.give_up_after, settings.max_asked_delay),
        LeasePolicy(settings.lease, settings.lease_renewal, settings.queue_poll, settings.max_crashes),
        wakeup,
        max_recipients=settings.smtp_max_recipients_per_transaction,
        reconnects=settings.smtp_reconnects,
        circuit=CircuitPolicy(settings.circuit_probe_interval, settings.circuit_auth_interval),
        turn_ahead=settings.turn_ahead,
        unsettled=UnsettledPolicy(settings.smtp_unsettled, settings.settle_wait, settings.claim_wait),
        give_way=GiveWayPolicy(
            settings.give_way_claims,
            settings.give_way_busy,
            settings.give_way_accepted,
            settings.give_way_pause,
            settings.give_way_settle_wait,
        ),
        uptime=uptime,
        signer=ContentSigner(sealer, settings.cache_entries),
        services=KnownServices(settings.cache_entries),
        connections=engine.connections,
    )


class _Servers:
    """What services mean right now. Of the services used lately each one's server is kept, for as long as the service
    is the same object: of that nothing has changed."""

    def __init__(self, settings: Settings, sealer: Sealer, inbox: Inbox) -> None:
        self._settings = settings
        self._sealer = sealer
        self._inbox = inbox
        self._known: OrderedDict[int, tuple[Service, Server]] = OrderedDict()
        """By the number that the id is: of that a hash is quickly worked out."""

    def resolve(self, service: Service) -> Server:
        """The server of the service. Raises SmtpFailure."""
        key = service.id.int
        known = self._known.get(key)
        if known is not None and known[0] is service:
            return known[1]
        server = self._described(service)
        self._known[key] = service, server
        if len(self._known) > self._settings.cache_entries:
            self._known.popitem(last=False)
        return server

    def _described(self, service: Service) -> Server:
        if service.kind == ServiceKind.SANDBOX:
            return self._inbox.server_for(service.id, self._settings.client_name)
        try:
            return server_for(service, self._settings, self._sealer)
        except SealError as error:
            message = "Authentication failed: the stored password cannot be unsealed with the configured keys."
            raise SmtpFailure(Failure(Phase.AUTH, Cause.AUTHENTICATION, message)) from error


@asynccontextmanager
async def _upkeep(
    worker_id: UUID, settings: Settings, pool: Pool, uptime: Uptime, wakeup: Wakeup
) -> AsyncIterator[None]:
    sweeping = run_sweep(uptime, wakeup, interval=settings.recover_interval, max_crashes=settings.max_crashes)
    tasks = [
        asyncio.create_task(run_housekeeping(settings)),
        asyncio.create_task(sweeping),
        asyncio.create_task(_close_idle(pool, settings.worker_heartbeat)),
        asyncio.create_task(_show_life(worker_id, settings.worker_heartbeat)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _close_idle(pool: Pool, at_most: float) -> None:
    while True:
        pause = pool.close_idle()
        await asyncio.sleep(min(pause, at_most))


async def _show_life(worker_id: UUID, interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        try:
            await beat(worker_id, now())
        except Exception as error:
            log_trouble(logger, error, "the sign of life could not be written")


@asynccontextmanager
async def _delivery(
    engine: Engine, attempter: Attempter, settings: Settings, drain: Drain, uptime: Uptime
) -> AsyncIterator[None]:
    delivery = asyncio.create_task(
        run_delivery(
            engine,
            attempter.attempt,
            drain.begun,
            connections_per_service=settings.smtp_max_connections,
            messages_ahead=settings.smtp_messages_ahead,
            look_every=settings.queue_poll,
            uptime=uptime,
            move_at_once=settings.recover_batch,
        )
    )
    try:
        yield
    finally:
        drain.begin()
        await _end(delivery, drain.remaining())


async def _end(delivery: asyncio.Task[None], seconds: float) -> None:
    done, _ = await asyncio.wait({delivery}, timeout=seconds)
    if not done:
        logger.warning("attempts still under way are released, or broken off where the server may have the mail")
        delivery.cancel()
    await asyncio.gather(delivery, return_exceptions=True)

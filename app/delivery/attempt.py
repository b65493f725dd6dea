"""One attempt at one message: claim, connect, transact, judge, settle."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from msgspec import structs

from app.clock import Instant, instant, now
from app.database.connection import is_transient
from app.database.finish import finish
from app.database.key import public_id
from app.database.trouble import log_trouble
from app.delivery.backoff import RetryPolicy
from app.delivery.give_way import GiveWay, GiveWayPolicy
from app.delivery.lease import Lease, LeasePolicy, Leases
from app.delivery.outcome import over_the_limit
from app.delivery.settling import Settling, release, shown
from app.delivery.throttle import wait_for_turn
from app.delivery.unsettled import Slot, Unsettled, UnsettledPolicy
from app.delivery.uptime import Uptime
from app.domains.signing import CannotSign, ContentSigner
from app.mail.content import Content
from app.mail.envelope import Envelope
from app.mail.reply import Reply
from app.queue.allowance import TurnPolicy
from app.queue.claim import Claim, ClaimedRecipient, claim_message
from app.queue.claim_together import PlainClaims, Wanted
from app.queue.content import load_content
from app.queue.settle_together import FinalResults
from app.queue.wakeup import Wakeup
from app.services.announced import is_new_size, note_announced_size
from app.services.circuit import CircuitPolicy
from app.services.known_services import KnownServices
from app.services.models import Service
from app.smtp.connection import Connection
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.pool import Pool
from app.smtp.server import Server
from app.smtp.transaction import TransactionResult, transact

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Attempter:
    """Tries messages for one worker. `resolve` says which server a service means right now.

    A transaction has at most `max_recipients`, or as many as its service says. One that met 421 goes on at once, up to
    `reconnects` times, on a new connection. A turn is taken, and waited for, up to `turn_ahead` seconds before it
    comes. While `uptime` is short, another worker's lease is respected though it has ended. `signer` signs what leaves.
    `services` are those that need no query (default: none). `connections` says how many connections of a service may be
    in use here, None: as many as it may have.
    """

    def __init__(
        self,
        worker_id: UUID,
        pool: Pool,
        resolve: Callable[[Service], Server],
        retry: RetryPolicy,
        lease: LeasePolicy,
        wakeup: Wakeup,
        *,
        max_recipients: int = 100,
        reconnects: int = 2,
        clock: Callable[[], Instant] = instant,
        circuit: CircuitPolicy = CircuitPolicy(),  # noqa: B008 - frozen
        turn_ahead: float = 1,
        unsettled: UnsettledPolicy = UnsettledPolicy(),  # noqa: B008 - frozen
        give_way: GiveWayPolicy = GiveWayPolicy(),  # noqa: B008 - frozen
        uptime: Uptime | None = None,
        signer: ContentSigner | None = None,
        services: KnownServices | None = None,
        connections: Callable[[UUID], int | None] = lambda _: None,
    ) -> None:
        self._worker_id = worker_id
        self._pool = pool
        self._resolve = resolve
        self._lease = lease
        self._leases = Leases(lease, clock)
        self._wakeup = wakeup
        self._max_recipients = max_recipients
        self._reconnects = reconnects
        self._clock = clock
        self._circuit = circuit
        self._turns = TurnPolicy(turn_ahead, max_recipients)
        self._uptime = uptime or Uptime(0)
        self._signer = signer
        self._services = services or KnownServices(0)
        self._connections = connections
        self._unsettled = Unsettled(unsettled)
        gives_way = GiveWay(wakeup.intake, self._unsettled, give_way)
        self._plain_claims = PlainClaims(worker_id, lease.duration, gives_way.before_claiming)
        finals = FinalResults(self._unsettled.joint_commit, gives_way.before_settling)
        self._settling = Settling(retry, circuit, finals, wakeup, lease.pause)

    async def attempt(self, message_id: UUID) -> bool:
        """Try the due recipients of the message once. False, and nothing is tried, when it cannot be claimed: another
        worker holds it, or its service takes none."""
        since = self._clock()
        claim = await self._claim(message_id, since)
        self._wakeup.message_changed(message_id)
        if claim is None:
            if not self._uptime.lasts:
                await asyncio.sleep(self._lease.pause)  # or a message that is due all along is tried in a circle
            return False
        lease, slot = Lease(claim, self._leases, since), self._unsettled.slot(claim.service_id)
        lease.begin()
        try:
            if claim.turn_at is not None:
                await _given_back(claim, wait_for_turn(claim.turn_at))
            await self._deliver(claim, lease, slot)
        finally:
            slot.free()
            if lease.end():
                await lease.ended()
        return True

    async def _claim(self, message_id: UUID, since: Instant) -> Claim | None:
        """Cancelled meanwhile, what was claimed is released."""
        wanted = Wanted(message_id, since.wall)
        try:
            await self._plain_claims.make(wanted)
        except asyncio.CancelledError:
            if wanted.claim is not None:
                await release(wanted.claim)
            raise
        except Exception:
            wanted.claim = None  # nothing of it is written; what is wrong shows where it is alone
        return wanted.claim or await self._claim_alone(message_id, since)

    async def _claim_alone(self, message_id: UUID, since: Instant) -> Claim | None:
        claims: list[Claim | None] = []
        policy, take_over = self._lease, self._uptime.lasts

        async def claim() -> None:
            work = claim_message(
                self._worker_id,
                message_id,
                since.wall,
                policy.duration,
                policy.max_crashes,
                circuit=self._circuit,
                turns=self._turns,
                take_over=take_over,
            )
            claims.append(await work)

        try:
            await finish(claim())
        except asyncio.CancelledError:
            for claimed in filter(None, claims):
                await release(claimed)
            raise
        return claims[0]

    async def _deliver(self, claim: Claim, lease: Lease, slot: Slot) -> None:
        """Transaction by transaction, each settled before the next one begins; none after the lease was lost."""
        untried = list(claim.recipients)
        dispatch: _Dispatch | None = None
        while untried:
            started_at = now()
            part = untried[: self._max_recipients]
            try:
                if dispatch is None:
                    dispatch = self._at_hand(claim, lease, slot)
                if dispatch is None:
                    dispatch = await _given_back(claim, self._prepare(claim, lease, slot))
                part = untried[: dispatch.service.max_recipients_per_transaction or self._max_recipients]
                result = await self._send(dispatch, part)
            except SmtpFailure as failed:
                result = TransactionResult({}, failed.failure)
            except Exception as error:
                if dispatch is None and is_transient(error):
                    await self._settling.give_back(claim)
                    return
                result = TransactionResult({}, _internal_failure(claim, error, prepared=dispatch is not None))
            slot.answered()
            failure = result.failure
            if failure is not None and failure.cause is Cause.WITHHELD:
                logger.warning("message %s: its end was withheld, the lease was not sure", shown(claim))
                await self._settling.give_back(claim)
                return
            if failure is not None and failure.of_service:
                part = untried
            again = over_the_limit(result, part)
            untried = again + untried[len(part) :]
            tried = claim
            if again or len(part) != len(claim.recipients):
                tried = structs.replace(claim, recipients=tuple([each for each in part if each not in again]))
            if not await self._settling.settle(tried, result, started_at, last=not untried):
                return
            slot.free()
        if dispatch is not None and dispatch.met_new_size():
            await _note_announced_size(dispatch)

    def _at_hand(self, claim: Claim, lease: Lease, slot: Slot) -> "_Dispatch | None":
        """What `_prepare` returns, where there is nothing to wait for."""
        content, revision = claim.content, claim.revision
        if content is None or revision is None or (self._signer is not None and not self._signer.is_idle(revision)):
            return None
        service = self._services.known(claim.service_id, revision)
        return None if service is None else _Dispatch(claim, lease, slot, service, self._resolve(service), content)

    async def _prepare(self, claim: Claim, lease: Lease, slot: Slot) -> "_Dispatch":
        service = await self._services.of_id(claim.service_id, claim.revision)
        server = self._resolve(service)
        content = await load_content(claim.message_id) if claim.content is None else claim.content
        return _Dispatch(claim, lease, slot, service, server, await self._signed(claim, content, server))

    async def _signed(self, claim: Claim, content: bytes | Content, server: Server) -> bytes | Content:
        """The content as it leaves: never unsigned where it should be signed and cannot be."""
        if self._signer is None:
            return content
        try:
            if isinstance(content, bytes):
                return await self._signer.sign(content, server.host, claim.revision)
            return await self._signer.sign_large(content, server.host, claim.revision)
        except CannotSign as error:
            logger.error("message %s: %s", shown(claim), error)
            raise SmtpFailure(Failure(Phase.CONTENT, Cause.NOT_SIGNED, str(error))) from error

    async def _send(self, dispatch: "_Dispatch", recipients: Sequence[ClaimedRecipient]) -> TransactionResult:
        """One transaction, and for those left without a verdict another one on a new connection, if that may help."""
        claim, service, server = dispatch.claim, dispatch.service, dispatch.server
        replies: dict[str, Reply] = {}
        tries, rides = 0, True
        while True:
            due = tuple([recipient.address for recipient in recipients if recipient.address not in replies])
            envelope = Envelope(claim.reverse_path, due, claim.smtputf8)
            dispatch.may_have_it = False
            at_most, key, fresh = self._at_most(service), claim.service_id.int, tries > 0
            lent = self._pool.borrow(key, service.version, server, fresh=fresh, rides=rides, at_most=at_most)
            try:
                async with lent as connection:
                    dispatch.go_by(connection, at_most)
                    result = await transact(
                        connection, envelope, dispatch.content, server.timeouts, dispatch.may_finish
                    )
            except SmtpFailure as failed:
                return TransactionResult(replies, failed.failure)
            except asyncio.CancelledError:
                if not dispatch.may_have_it:
                    await release(claim)
                raise
            if not replies and not result.try_again:  # as nearly always
                return result
            replies.update(result.replies)
            is_bumped = result.is_bumped and rides
            if not is_bumped and (not result.try_again or tries == self._reconnects):
                return TransactionResult(replies, result.failure)
            dispatch.slot.free()  # the server took nothing, and who has the next connection may wait for it
            if is_bumped:
                rides = False
                continue
            tries += 1
            logger.info("message %s: going on with a new connection", shown(claim))

    def _at_most(self, service: Service) -> int:
        """How many connections to its server there may be here."""
        at_most = service.max_connections or self._pool.max_connections
        here = self._connections(service.id)
        # Mail that is just moved may have none at its new service.
        return at_most if here is None else min(at_most, max(1, here))


@dataclass(slots=True)  # frozen, it would take several times as long to make
class _Dispatch:
    """What every transaction of one attempt needs. `may_have_it`: the end of the last one may have been sent."""

    claim: Claim
    lease: Lease
    slot: Slot
    service: Service
    server: Server
    content: bytes | Content
    may_have_it: bool = False
    said_size: str | None = None
    """What the last session's EHLO said about SIZE."""
    _connection: Connection = field(init=False)
    _at_most: int = field(init=False)

    def go_by(self, connection: Connection, at_most: int) -> None:
        """The next transaction goes by this connection, one of at most so many to its server."""
        self._connection, self._at_most = connection, at_most
        self.said_size = connection.extensions.get("size", "")

    async def may_finish(self, addresses: Collection[str]) -> bool:
        """See `transact`."""
        slot, lease = self.slot, self.lease
        # With BDAT a window of mails is under way anyhow. And mostly there is nothing to wait for.
        if not self._connection.chunking and not slot.take(self._at_most):
            await slot.wait()
        self.may_have_it = lease.lets_finish() or await lease.may_finish(addresses)
        return self.may_have_it

    def met_new_size(self) -> bool:
        """Whether that is not noted yet."""
        return self.said_size is not None and is_new_size(self.service, self.said_size)


async def _given_back(claim: Claim, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. Cancelled in it, where nobody is being sent anything, the recipients not yet settled are
    released."""
    try:
        return await work
    except asyncio.CancelledError:
        await release(claim)
        raise


async def _note_announced_size(dispatch: _Dispatch) -> None:
    """For previews: nothing is lost where it cannot be written."""
    try:
        await note_announced_size(dispatch.service, dispatch.said_size or "")
    except Exception as error:
        log_trouble(logger, error, "service %s: its SIZE is not noted", public_id("svc", dispatch.service.id))


def _internal_failure(claim: Claim, error: Exception, *, prepared: bool) -> Failure:
    """A bug of ours, told like a failure of the session, so that the attempt is settled, and given up in the end."""
    error_id = secrets.token_hex(8)
    logger.error("message %s: internal error %s", shown(claim), error_id, exc_info=error)
    phase = Phase.CONTENT if prepared else Phase.CONNECT
    return Failure(phase, Cause.INTERNAL, f"Internal error while sending. Its id is {error_id}.")

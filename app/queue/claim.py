"""Due recipients of one message, leased and fenced."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import Struct

from app.database.connection import as_key, as_moment, execute, execute_many, in_transaction, rows
from app.database.revision import REVISION
from app.limits.counter import Taken, give_back
from app.queue.allowance import (
    IS_CLAIMABLE,
    IS_OPEN,
    IS_PACED,
    OWN_IS_OPEN,
    UNLIMITED,
    Allowance,
    OverLimit,
    TurnPolicy,
    allow,
    find_when_free,
)
from app.queue.derive import refresh_message
from app.queue.doubt import OnDoubt
from app.queue.expire import expire_message
from app.queue.lost import end_lost_attempt
from app.queue.route import ROUTE, Via, keys_of, via_of
from app.queue.states import RecipientState
from app.services.circuit import CircuitPolicy, permit_probe

_OPEN = IS_OPEN.format(service="message.route_id", moment="$4")
_TURNS = TurnPolicy()

TAKE = (
    "UPDATE message SET lease_owner = $2, lease_until = $3, due_at = $3, claimed_at = $4, fence = fence + 1,"
    " state = 'sending', verdict_awaited = (verdict_awaited AND (fence = 0 OR route_id <> service_id))"
)
"""How each claim begins: by this worker, until this moment, at that one."""

IS_DUE = "due_at <= $4 AND lease_until IS NULL AND (expires_at IS NULL OR expires_at > $4)"
"""For its WHERE."""

# Who claims all recipients there are need not ask what becomes of the message.
TAKEN = (
    f"{ROUTE}, fallbacks, fence, expires_at, reverse_path, smtputf8, on_doubt,"  # noqa: S608 - constants
    " (SELECT version FROM service WHERE id = message.route_id) AS service_version,"
    f" {REVISION} AS revision, (SELECT COUNT(*) FROM recipient WHERE message_id = message.id) AS recipient_count"
)
"""For its RETURNING; or for a SELECT before it, whose `fence` is one less."""

TAKE_RECIPIENTS = "UPDATE recipient SET state = 'claimed', attempt_number = attempt_number + 1, in_doubt = "
"""How the claim of its recipients begins; in doubt is none of them."""


class ClaimedRecipient(Struct, frozen=True):
    """One recipient to be tried now; `id` is its key as the database has it, `number` the attempt's number for it, from
    1.

    `tried_since`: when the first of the attempts began from which the give-up age counts; None: this is the first. For
    a probe it leaves out the outage, which is over if the attempt counts.
    """

    id: UUID | str
    address: str
    number: int
    tried_since: datetime | None = None


class Claim(Struct):
    """The right to try these recipients while the lease holds. Only `fence` proves it: see `settle`.

    `service_version`: which version of the service is tried. `probing`: it is the one probe of the service's circuit.
    Where the service has limits, `taken` is what was counted, and nothing may be sent before `turn_at`. `service_id` is
    the service by which it leaves; `via` says so where that is not its own. `fallbacks`: those that its author may send
    with. `revision`: of the facts as it was claimed. `recipient_count`: of the whole message, settled ones included.
    `content`: what it is, where that was read along.
    """

    message_id: UUID
    service_id: UUID
    worker_id: UUID
    fence: int
    reverse_path: str
    smtputf8: bool
    recipients: tuple[ClaimedRecipient, ...]
    expires_at: datetime | None = None
    on_doubt: OnDoubt = OnDoubt.RETRY
    service_version: int = 0
    probing: bool = False
    turn_at: datetime | None = None
    taken: Taken | None = None
    via: Via | None = None
    fallbacks: tuple[UUID, ...] = ()
    revision: int | None = None
    recipient_count: int = 0
    content: bytes | None = None

    @property
    def own_service_id(self) -> UUID:
        """The service that it was accepted for."""
        return self.via.own_service_id if self.via else self.service_id


_CIRCUIT_POLICY = CircuitPolicy()


async def claim_message(
    worker_id: UUID,
    message_id: UUID,
    moment: datetime,
    lease: float,
    max_crashes: int | None = None,
    circuit: CircuitPolicy = _CIRCUIT_POLICY,
    turns: TurnPolicy = _TURNS,
    *,
    take_over: bool = True,
) -> Claim | None:
    """Claim the due recipients for `lease` seconds and count an attempt on each; of a service with limits, as many as
    these allow.

    Only the first claim can give the verdict that a client waits for: who takes over from a dead worker retries. What
    that worker had begun is ended first; after `max_crashes` workers lost in a row, with the recipients failed.
    Without `take_over` what is leased is left to its worker, though the lease has ended.
    None when the message is not due: settled, scheduled later, or leased to a worker that still lives; when its
    service is inactive or paused, its limits allow nothing now, or its circuit is open and this is not the probe; and
    when its time is over: then it is expired here.
    """
    try:
        return await in_transaction(
            lambda: _claim(worker_id, message_id, moment, lease, max_crashes, circuit, turns, take_over)
        )
    except _NotTheProbe:
        return None
    except OverLimit as over:
        service_id = over.service_id
    await in_transaction(lambda: _leave(message_id, service_id, moment, max_crashes, turns))
    return None


async def _leave(
    message_id: UUID, service_id: UUID, moment: datetime, max_crashes: int | None, turns: TurnPolicy
) -> None:
    """The limits of the service allow nothing now."""
    await end_lost_attempt(message_id, moment, max_crashes)
    await find_when_free(service_id, moment, turns)


class _NotTheProbe(Exception):
    """Ends the transaction: another claim is the probe of the service's circuit."""


async def _claim(
    worker_id: UUID,
    message_id: UUID,
    moment: datetime,
    lease: float,
    max_crashes: int | None,
    circuit: CircuitPolicy,
    turns: TurnPolicy,
    take_over: bool,
) -> Claim | None:
    lease_until = moment + timedelta(seconds=lease)
    found = await _take(worker_id, message_id, moment, lease_until)
    if not found and take_over and await end_lost_attempt(message_id, moment, max_crashes):
        found = await _take(worker_id, message_id, moment, lease_until)
    if not found:
        if take_over:
            await expire_message(message_id, moment, grace=0)
        return None
    message = found[0]
    probing = bool(message["circuits"])
    if probing and not await permit_probe(as_key(message["route_id"]), moment, circuit):
        raise _NotTheProbe
    allowance = await _allowance(message_id, message, moment, turns)
    outage = max(moment - (as_moment(message["open_since"]) or moment), timedelta(0))
    claimed = await _claim_recipients(message_id, moment, allowance, outage)
    if not claimed:
        await refresh_message(message_id, moment)
        return None
    return Claim(
        message_id=message_id,
        service_id=as_key(message["route_id"]),
        via=via_of(message),
        fallbacks=keys_of(message["fallbacks"]),
        worker_id=worker_id,
        fence=message["fence"],
        reverse_path=message["reverse_path"],
        smtputf8=bool(message["smtputf8"]),
        recipients=claimed,
        expires_at=as_moment(message["expires_at"]),
        on_doubt=OnDoubt(message["on_doubt"]),
        service_version=message["service_version"],
        probing=probing,
        turn_at=allowance.turn_at,
        taken=allowance.taken,
        revision=int(message["revision"]),
        recipient_count=message["recipient_count"],
    )


async def _take(worker_id: UUID, message_id: UUID, moment: datetime, lease_until: datetime) -> list[dict[str, Any]]:
    return await rows(
        f"{TAKE} WHERE id = $1 AND {IS_DUE}"  # noqa: S608 - constants
        " AND EXISTS (SELECT 1 FROM service WHERE id = message.route_id AND is_active AND paused_at IS NULL)"
        f" AND {OWN_IS_OPEN}"
        " AND NOT EXISTS (SELECT 1 FROM circuit WHERE service_id = message.route_id AND probe_at > $4)"
        f" AND {_OPEN} RETURNING {TAKEN}, {IS_PACED},"
        " (SELECT COUNT(*) FROM circuit WHERE service_id = message.route_id) AS circuits,"
        " (SELECT opened_at FROM circuit WHERE service_id = message.route_id) AS open_since",
        message_id,
        worker_id,
        lease_until,
        moment,
    )


async def _allowance(message_id: UUID, message: Mapping[str, Any], moment: datetime, turns: TurnPolicy) -> Allowance:
    if not message["is_paced"]:
        return UNLIMITED
    return await allow(message_id, as_key(message["route_id"]), moment, turns)


async def _claim_recipients(
    message_id: UUID, moment: datetime, allowance: Allowance, outage: timedelta
) -> tuple[ClaimedRecipient, ...]:
    claimed = await rows(
        f"{TAKE_RECIPIENTS}$3 WHERE message_id = $1 AND {IS_CLAIMABLE} AND due_at <= $2 AND position <= $4"
        " RETURNING id, address, attempt_number, tried_since, position",
        message_id,
        moment,
        False,
        allowance.last_position,
    )
    return tuple(claimed_recipient(row, outage) for row in sorted(claimed, key=lambda row: int(row["position"])))


def claimed_recipient(row: Mapping[str, Any], outage: timedelta = timedelta(0)) -> ClaimedRecipient:
    """From a row of recipient that was claimed just now, after an `outage` of its service."""
    tried_since: datetime | str | None = row["tried_since"]
    since = as_moment(tried_since)
    return ClaimedRecipient(row["id"], row["address"], row["attempt_number"], since + outage if since else None)


async def renew_lease(claim: Claim, moment: datetime, lease: float) -> bool:
    """Move the end of the lease to `lease` seconds from `moment`; False when it is no longer ours."""
    renewed = await execute(
        "UPDATE message SET lease_until = $4, due_at = $4 WHERE id = $1 AND lease_owner = $2 AND fence = $3",
        claim.message_id,
        claim.worker_id,
        claim.fence,
        moment + timedelta(seconds=lease),
    )
    return renewed == 1


async def begin_dot(claim: Claim, recipient_ids: Sequence[UUID | str], moment: datetime, lease: float) -> bool:
    """Renew the lease, and write down that the server may take the mail for these recipients from now on; False, and
    nothing written, when the lease is no longer ours."""
    return await in_transaction(lambda: _begin_dot(claim, recipient_ids, moment, lease), urgent=True)


async def _begin_dot(claim: Claim, recipient_ids: Sequence[UUID | str], moment: datetime, lease: float) -> bool:
    if not await renew_lease(claim, moment, lease):
        return False
    await execute_many("UPDATE recipient SET in_doubt = $2 WHERE id = $1", [(key, True) for key in recipient_ids])
    return True


async def release_claim(claim: Claim, moment: datetime) -> bool:
    """Give the recipients back untried, the counted attempt taken back; False when the lease is no longer ours."""
    return await in_transaction(lambda: _release(claim, moment))


async def _release(claim: Claim, moment: datetime) -> bool:
    if not await end_lease(claim, settled=False):
        return False
    released = await execute(
        "UPDATE recipient SET state = $2, attempt_number = attempt_number - 1"
        " WHERE message_id = $1 AND state = 'claimed'",
        claim.message_id,
        RecipientState.QUEUED.value,
    )
    await refresh_message(claim.message_id, moment)
    if claim.taken is not None:
        await give_back(claim.taken, released)
    return True


async def check_lease(claim: Claim) -> list[dict[str, object]]:
    """The row if `claim` still holds its lease, else nothing; the lease goes on. Locks the row."""
    return await rows(
        "UPDATE message SET fence = fence WHERE id = $1 AND lease_owner = $2 AND fence = $3 RETURNING verdict_awaited",
        claim.message_id,
        claim.worker_id,
        claim.fence,
    )


async def end_lease(claim: Claim, *, settled: bool) -> list[dict[str, object]]:
    """Take the row's lease away if `claim` still holds it; the row then, else nothing. Locks the row.

    `settled`: the worker outlived it, so the workers lost before do not count any more; else nobody awaits its verdict
    any more.
    """
    return await rows(
        "UPDATE message SET lease_owner = NULL, lease_until = NULL, crashes = crashes * $4,"
        " verdict_awaited = (verdict_awaited AND $5)"
        " WHERE id = $1 AND lease_owner = $2 AND fence = $3 RETURNING verdict_awaited",
        claim.message_id,
        claim.worker_id,
        claim.fence,
        0 if settled else 1,
        settled,
    )

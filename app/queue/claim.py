"""Due recipients of one message, leased and fenced."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.database.connection import as_key, as_moment, execute, rows, transaction
from app.mail.envelope import Envelope
from app.queue.derive import refresh_message
from app.queue.expire import expire_message
from app.queue.states import CLAIMABLE, RecipientState

_CLAIMABLE = ", ".join(f"'{state.value}'" for state in sorted(CLAIMABLE))


@dataclass(frozen=True, slots=True)
class ClaimedRecipient:
    """One recipient to be tried now; `number` is the attempt's number for it, from 1.

    `tried_since`: when the first of the attempts began from which the give-up age counts; None: this is the first.
    """

    id: UUID
    address: str
    number: int
    tried_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to try these recipients until `lease_until`. Only `fence` proves it: see `settle`."""

    message_id: UUID
    service_id: UUID
    worker_id: UUID
    fence: int
    lease_until: datetime
    created_at: datetime
    reverse_path: str
    smtputf8: bool
    recipients: tuple[ClaimedRecipient, ...]
    expires_at: datetime | None = None

    @property
    def envelope(self) -> Envelope:
        """The envelope of the due recipients."""
        return Envelope(self.reverse_path, tuple(r.address for r in self.recipients), self.smtputf8)


async def claim_message(worker_id: UUID, message_id: UUID, moment: datetime, lease: float) -> Claim | None:
    """Claim the due recipients for `lease` seconds and count an attempt on each.

    Only the first claim can give the verdict that a client waits for: who takes over from a dead worker retries.
    None when the message is not due: settled, scheduled later, or leased to a worker that still lives; when its
    service is inactive or paused; and when its time is over: then it is expired here.
    """
    lease_until = moment + timedelta(seconds=lease)
    async with transaction():
        found = await rows(
            "UPDATE message SET lease_owner = $2, lease_until = $3, due_at = $3, fence = fence + 1, state = 'sending',"
            " verdict_awaited = (verdict_awaited AND fence = 0)"
            " WHERE id = $1 AND due_at <= $4 AND (expires_at IS NULL OR expires_at > $4) AND EXISTS"
            " (SELECT 1 FROM service WHERE id = message.service_id AND is_active AND paused_at IS NULL)"
            " RETURNING service_id, fence, created_at, expires_at, reverse_path, smtputf8",
            message_id,
            worker_id,
            lease_until,
            moment,
        )
        if not found:
            await expire_message(message_id, moment)
            return None
        claimed = await rows(
            "UPDATE recipient SET state = 'claimed', attempt_number = attempt_number + 1"  # noqa: S608 - constants
            f" WHERE message_id = $1 AND state IN ({_CLAIMABLE}) AND due_at <= $2"
            " RETURNING id, address, attempt_number, tried_since, position",
            message_id,
            moment,
        )
        if not claimed:
            await refresh_message(message_id, moment)
            return None
    message = found[0]
    return Claim(
        message_id=message_id,
        service_id=as_key(message["service_id"]),
        worker_id=worker_id,
        fence=message["fence"],
        lease_until=lease_until,
        created_at=as_moment(message["created_at"]),
        reverse_path=message["reverse_path"],
        smtputf8=bool(message["smtputf8"]),
        recipients=tuple(
            ClaimedRecipient(as_key(row["id"]), row["address"], row["attempt_number"], as_moment(row["tried_since"]))
            for row in sorted(claimed, key=lambda row: int(row["position"]))
        ),
        expires_at=as_moment(message["expires_at"]),
    )


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


async def release_claim(claim: Claim, moment: datetime) -> bool:
    """Give the recipients back untried, the counted attempt taken back; False when the lease is no longer ours."""
    async with transaction():
        if not await end_lease(claim):
            return False
        await execute(
            "UPDATE recipient SET state = $2, attempt_number = attempt_number - 1"
            " WHERE message_id = $1 AND state = 'claimed'",
            claim.message_id,
            RecipientState.QUEUED.value,
        )
        await refresh_message(claim.message_id, moment)
    return True


async def check_lease(claim: Claim) -> list[dict[str, object]]:
    """The row if `claim` still holds its lease, else nothing; the lease goes on. Locks the row."""
    return await rows(
        "UPDATE message SET fence = fence WHERE id = $1 AND lease_owner = $2 AND fence = $3 RETURNING verdict_awaited",
        claim.message_id,
        claim.worker_id,
        claim.fence,
    )


async def end_lease(claim: Claim) -> list[dict[str, object]]:
    """Take the row's lease away if `claim` still holds it; the row then, else nothing. Locks the row."""
    return await rows(
        "UPDATE message SET lease_owner = NULL, lease_until = NULL WHERE id = $1 AND lease_owner = $2 AND fence = $3"
        " RETURNING verdict_awaited",
        claim.message_id,
        claim.worker_id,
        claim.fence,
    )


async def load_content(message_id: UUID) -> bytes:
    """The final bytes of an accepted message."""
    found = await rows("SELECT octets FROM message_content WHERE message_id = $1", message_id)
    return bytes(found[0]["octets"])

"""Pause a service: its mail is accepted and kept, and leaves when it is resumed."""

from datetime import datetime
from uuid import UUID

from app.access.policy import require
from app.access.principal import Action, Principal
from app.audit.record import AuditAction, Subject, record
from app.database.connection import as_moment, execute, rows, transaction
from app.errors import ErrorCode, InvalidInput, NotFound
from app.mail.characters import unstorable
from app.queue.forgive import forgive_all, forgive_outage
from app.queue.lock import row_lock
from app.services.circuit import probe_soon


async def pause_service(
    service_id: UUID, reason: str, by: Principal | None, moment: datetime, *, max_reason_chars: int
) -> None:
    """From now on no mail of the service is claimed; what is being sent right now is not stopped.

    A service that is paused already gets the new reason. Needs MANAGE_SERVICES on it; None is the operator at the
    machine. Raises Forbidden, NotFound, InvalidInput.
    """
    if by is not None:
        require(by, Action.MANAGE_SERVICES, service_id)
    if not reason.strip() or len(reason) > max_reason_chars or unstorable(reason):
        message = f"A reason has 1 to {max_reason_chars} characters that can be stored."
        raise InvalidInput(message, field=("reason",))
    async with transaction():
        subject, before = await _locked_pause(service_id)
        await execute(
            "UPDATE service SET paused_at = COALESCE(paused_at, $2), paused_reason = $3 WHERE id = $1",
            service_id,
            moment,
            reason,
        )
        after = {"pausedAt": before["pausedAt"] or moment, "pausedReason": reason}
        await record(by, AuditAction.PAUSE_SERVICE, subject, moment, before=before, after=after)


async def resume_service(service_id: UUID, by: Principal | None, moment: datetime) -> None:
    """End the pause: what is due leaves now. The pause does not count towards the give-up age of mail tried before.

    If its circuit is open, a probe goes now, or when AUTH may be tried again; the outage until then does not count
    either. Else it does nothing to a service that is not paused. Needs MANAGE_SERVICES on it. Raises Forbidden,
    NotFound.
    """
    if by is not None:
        require(by, Action.MANAGE_SERVICES, service_id)
    async with transaction():
        # Service, circuit, recipients: who else ends an outage locks them in this order too.
        subject, before = await _locked_pause(service_id)
        resumed = await execute(
            "UPDATE service SET paused_at = NULL, paused_reason = NULL WHERE id = $1 AND paused_at IS NOT NULL",
            service_id,
        )
        open_since = await probe_soon(service_id, moment)
        if resumed:
            await forgive_all(service_id)
        elif open_since is not None:
            await forgive_outage(service_id, open_since, moment)
        after = {"pausedAt": None, "pausedReason": None}
        await record(by, AuditAction.RESUME_SERVICE, subject, moment, before=before, after=after)


async def _locked_pause(service_id: UUID) -> tuple[Subject, dict[str, object]]:
    """The service, its row locked, and its pause as the audit log tells it."""
    found = await rows(
        f"SELECT name, paused_at, paused_reason FROM service WHERE id = $1{row_lock()}",  # noqa: S608 - constants
        service_id,
    )
    if not found:
        raise NotFound("There is no such service.", code=ErrorCode.SERVICE_NOT_FOUND, field=("id",))
    pause = {"pausedAt": as_moment(found[0]["paused_at"]), "pausedReason": found[0]["paused_reason"]}
    return Subject("svc", service_id, found[0]["name"]), pause

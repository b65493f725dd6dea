"""Remove a service, and decide about its mail that has not left yet."""

from datetime import datetime
from uuid import UUID

from app.access.policy import require, require_for_all
from app.access.principal import Action, Principal
from app.audit.record import AuditAction, record
from app.database.connection import as_key, as_moment, execute, rows, transaction
from app.errors import Conflict, ErrorCode, NotFound
from app.queue.change import CANCEL, change_recipients
from app.queue.lock import LEASE_GRACE, is_leased, lock_message, row_lock
from app.queue.route import send_home
from app.services.facts import service_facts, service_subject
from app.services.manage import refuse_managed
from app.services.models import Service


async def remove_service(
    service_id: UUID,
    by: Principal | None,
    moment: datetime,
    *,
    cancel_unsent: bool = False,
    grace: float = LEASE_GRACE,
) -> int:
    """Delete the service; returns how many recipients were cancelled. Its messages stay, for those who
    read the mail of all services; what a SANDBOX captured is deleted with it.

    Mail of other services that was to leave by this one as their fallback goes back to them.
    `by` needs MANAGE_SERVICES for all services and for this one; None is the operator at the machine.
    Raises Forbidden, NotFound, Conflict MANAGED_BY_ENVIRONMENT, and Conflict (IN_USE) while mail is unsent unless
    `cancel_unsent`; mail that is being sent at this very moment is never cancelled: the Conflict then says to try
    again. It counts as being sent for `grace` seconds after a lease that no worker has found to be lost.
    """
    if by is not None:
        require_for_all(by, Action.MANAGE_SERVICES)
        require(by, Action.MANAGE_SERVICES, service_id)
    async with transaction():
        # Locking the service row keeps new mail out: its foreign key waits, and then finds no service.
        service = await Service.filter(id=service_id).select_for_update().first()
        if service is None:
            raise NotFound("There is no such service.", code=ErrorCode.SERVICE_NOT_FOUND, field=("id",))
        refuse_managed(service.name, service.is_managed)
        unsent = await rows(
            f"SELECT id, lease_until FROM message WHERE service_id = $1 AND settled_at IS NULL{row_lock()}",  # noqa: S608
            service_id,
        )
        of_others = await rows(
            "SELECT lease_until FROM message"  # noqa: S608 - constants
            f" WHERE route_id = $1 AND service_id <> $1 AND due_at IS NOT NULL{row_lock()}",
            service_id,
        )
        if unsent and not cancel_unsent:
            raise Conflict(
                f"The service still has {len(unsent)} unsent messages. Wait for them, or set cancelUnsent to true.",
                field=("cancelUnsent",),
            )
        if any(is_leased(as_moment(row["lease_until"]), moment, grace) for row in (*unsent, *of_others)):
            raise Conflict("A message of the service is being sent right now. Try again in a moment.", retryable=True)
        cancelled = 0
        for row in unsent:
            cancelled += await _cancel_message(as_key(row["id"]), moment, grace)
        await send_home(service_id)
        await execute("DELETE FROM service WHERE id = $1", service_id)
        facts = {**service_facts(service), "cancelledRecipients": cancelled}
        await record(by, AuditAction.DELETE_SERVICE, service_subject(service), moment, before=facts)
    return cancelled


async def _cancel_message(message_id: UUID, moment: datetime, grace: float) -> int:
    message = await lock_message(message_id, moment, grace)
    assert message is not None, "it was locked before"
    return sum(change.changed for change in await change_recipients(message, CANCEL, moment))

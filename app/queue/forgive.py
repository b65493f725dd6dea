"""The time in which a service's mail could not be tried does not count towards its give-up age."""

from datetime import datetime, timedelta
from uuid import UUID

from app.database.connection import as_key, as_moment, execute, execute_many, rows
from app.queue.states import RecipientState

_WAITED = (
    f"tried_since IS NOT NULL AND state IN ('{RecipientState.QUEUED}', '{RecipientState.DEFERRED}') AND message_id IN"  # noqa: S608
    " (SELECT id FROM message WHERE route_id = $1 AND due_at IS NOT NULL{others})"
)
"""What no worker has: also queued mail was tried before, if its worker was lost or stopped. By `due_at`, because the
messages of which something waits are indexed, and few beside those of the whole history."""

_WAITED_THERE = _WAITED.format(others="")
_WAITED_FOR_IT = _WAITED.format(
    others=" UNION SELECT id FROM message WHERE service_id = $1 AND route_id <> service_id AND due_at IS NOT NULL"
)
"""Also what stands at a fallback: while its own service is paused, it waits there."""


async def forgive_outage(service_id: UUID, since: datetime, until: datetime) -> None:
    """Nothing could be tried from `since` to `until`: the give-up age of what waited begins that much later.

    Call it inside the transaction that ends the outage: it holds the circuit's row, and so nothing waits for a worker
    that waits for that.
    """
    waited = await rows(f"SELECT id, tried_since FROM recipient WHERE {_WAITED_THERE}", service_id)  # noqa: S608 - constants
    lost = max(until - since, timedelta(0))
    await execute_many(
        "UPDATE recipient SET tried_since = $2 WHERE id = $1",
        [(as_key(row["id"]), as_moment(row["tried_since"]) + lost) for row in waited],
    )


async def forgive_all(service_id: UUID) -> None:
    """The give-up age of what waited begins anew, with its next attempt. Call it inside a transaction."""
    await execute(f"UPDATE recipient SET tried_since = NULL WHERE {_WAITED_FOR_IT}", service_id)  # noqa: S608 - constants

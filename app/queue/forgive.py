"""The time in which a service's mail could not be tried does not count towards its give-up age."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.database.connection import as_key, as_moment, execute, execute_many, rows
from app.database.where import Where
from app.queue.states import RecipientState

_WAITS = f"tried_since IS NOT NULL AND state IN ('{RecipientState.QUEUED}', '{RecipientState.DEFERRED}')"
_WAITED_AT = (
    f"{_WAITS} AND message_id IN"  # noqa: S608
    " (SELECT id FROM message WHERE route_id = $1 AND due_at IS NOT NULL{others})"
)
"""What no worker has: also queued mail was tried before, if its worker was lost or stopped. By `due_at`, because the
messages of which something waits are indexed, and few beside those of the whole history."""

_WAITED = _WAITED_AT.format(others="")
_WAITED_FOR_IT = _WAITED_AT.format(
    others=" UNION SELECT id FROM message WHERE service_id = $1 AND route_id <> service_id AND due_at IS NOT NULL"
)
"""Also what stands at a fallback: while its own service is paused, it waits there."""


async def forgive_outage(service_id: UUID, since: datetime, until: datetime) -> None:
    """Nothing could be tried from `since` to `until`: the give-up age of what waited begins that much later.

    Call it inside the transaction that ends the outage: it holds the circuit's row, and so nothing waits for a worker
    that waits for that.
    """
    waited = await rows(f"SELECT id, tried_since FROM recipient WHERE {_WAITED}", service_id)  # noqa: S608 - constants
    await _forgive(waited, since, until)


async def forgive_moved(message_ids: Sequence[UUID], since: datetime | None, until: datetime) -> None:
    """These messages leave a service of which nothing could be tried from `since` on, None: of which it could, and so
    are not there any more when its outage ends. Call it inside the transaction that moves them."""
    if since is None:
        return
    where = Where()
    where.add_among("message_id", message_ids)
    where.add(_WAITS)
    waited = await rows(f"SELECT id, tried_since FROM recipient{where.clause}", *where.arguments)  # noqa: S608
    await _forgive(waited, since, until)


async def forgive_all(service_id: UUID) -> None:
    """The give-up age of what waited begins anew, with its next attempt. Call it inside a transaction."""
    await execute(f"UPDATE recipient SET tried_since = NULL WHERE {_WAITED_FOR_IT}", service_id)  # noqa: S608 - constants


async def _forgive(waited: Sequence[Mapping[str, Any]], since: datetime, until: datetime) -> None:
    lost = max(until - since, timedelta(0))
    # In one order, whoever forgives: so nobody waits in a circle.
    forgiven = sorted((as_key(row["id"]), min(as_moment(row["tried_since"]) + lost, until)) for row in waited)
    await execute_many("UPDATE recipient SET tried_since = $2 WHERE id = $1", forgiven)

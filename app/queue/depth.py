"""How much mail waits."""

from collections.abc import Mapping
from uuid import UUID

from app.database.connection import as_key, rows


async def count_unsettled() -> Mapping[UUID, int]:
    """Per service, how many messages are not settled."""
    counted = await rows(
        "SELECT service_id, COUNT(*) AS depth FROM message WHERE due_at IS NOT NULL GROUP BY service_id"
    )
    return {as_key(row["service_id"]): row["depth"] for row in counted}

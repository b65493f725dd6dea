"""Claims of many messages in one transaction, with their content where that is small.

They are those that have nothing in their way: no lease that has ended, no open circuit, no limits. Of these `claim`
says the same; whatever else there is, it decides.
"""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any
from uuid import UUID

from app.database.connection import as_key, as_moment, dialect, in_transaction, rows
from app.database.revision import REVISION
from app.queue.allowance import IS_CLAIMABLE, IS_OPEN, OWN_IS_OPEN
from app.queue.claim import RECIPIENT_COUNT, Claim, ClaimedRecipient, claimed_recipient
from app.queue.derive import refresh_message
from app.queue.doubt import OnDoubt
from app.queue.route import ROUTE, keys_of, via_of
from app.queue.stored import StoredKey, stored_key
from app.queue.together import Take, Together
from app.services.pacing import COLUMNS

_SMALL = 64 * 1024
_ON_DOUBT = {choice.value: choice for choice in OnDoubt}


class PlainClaims:
    """Makes them for one worker: while one transaction is under way, the next one gathers, and waits for `chance`."""

    def __init__(self, worker_id: UUID, lease: float, chance: Callable[[], Awaitable[None]] | None = None) -> None:
        self._worker_id = worker_id
        self._lease = timedelta(seconds=lease)
        self._chance = chance
        self._together: Together[Wanted] = Together(self._claim_together)

    async def make(self, wanted: "Wanted") -> None:
        """Claim the message, if nothing is in its way. Cancelled meanwhile, `wanted` may have its claim all the same.
        Raises what the database raises."""
        await self._together.do(wanted)

    async def _claim_together(self, take: "Take[Wanted]") -> None:
        if self._chance is not None:
            await self._chance()
        await in_transaction(lambda: self._claim(take))

    async def _claim(self, take: "Take[Wanted]") -> None:
        wanted = take()
        if not wanted:
            return
        moment = max([each.moment for each in wanted])
        by_key = {stored_key(each.message_id): each for each in wanted}
        taken = await self._take(by_key, moment)
        recipients = await _claim_recipients(taken, moment) if taken else {}
        contents = await _contents([key for key, row in taken.items() if row["size_bytes"] <= _SMALL])
        for key, row in taken.items():
            each = by_key[key]
            if key in recipients:
                each.claim = self._made(each.message_id, row, recipients[key], contents.get(key))
            else:
                await refresh_message(each.message_id, moment)

    async def _take(self, keys: Iterable[StoredKey], moment: datetime) -> dict[StoredKey, dict[str, Any]]:
        found = await rows(_TAKE[dialect()], _listed(keys), self._worker_id, moment + self._lease, moment)
        return {row["id"]: row for row in found}

    def _made(
        self, message_id: UUID, row: Mapping[str, Any], recipients: list[ClaimedRecipient], content: bytes | None
    ) -> Claim:
        route = row["route_id"]
        return Claim(
            message_id=message_id,
            service_id=_service_key(route),
            via=None if route == row["service_id"] else via_of(row),
            fallbacks=keys_of(row["fallbacks"]) if row["fallbacks"] else (),
            worker_id=self._worker_id,
            fence=row["fence"],
            reverse_path=row["reverse_path"],
            smtputf8=bool(row["smtputf8"]),
            recipients=tuple(recipients),
            expires_at=as_moment(row["expires_at"]),
            on_doubt=_ON_DOUBT[row["on_doubt"]],
            service_version=row["service_version"],
            revision=row["revision"],
            recipient_count=row["recipient_count"],
            content=content,
        )


@dataclass(slots=True, eq=False)
class Wanted:
    """A message that is to be claimed, and when that was found; then its claim, if it was made."""

    message_id: UUID
    moment: datetime
    claim: Claim | None = None


async def _claim_recipients(keys: Iterable[StoredKey], moment: datetime) -> Mapping[StoredKey, list[ClaimedRecipient]]:
    claimed = await rows(_CLAIM_RECIPIENTS[dialect()], _listed(keys), moment, False)
    claimed.sort(key=_position)
    found: defaultdict[StoredKey, list[ClaimedRecipient]] = defaultdict(list)
    for row in claimed:
        found[row["message_id"]].append(claimed_recipient(row))
    return found


@lru_cache(maxsize=1000)
def _service_key(stored: StoredKey) -> UUID:
    return as_key(stored)


_position = itemgetter("position")


async def _contents(keys: Sequence[StoredKey]) -> Mapping[StoredKey, bytes]:
    found = await rows(_CONTENTS[dialect()], _listed(keys)) if keys else []
    return {row["message_id"]: row["octets"] for row in found}


def _listed(keys: Iterable[StoredKey]) -> object:
    """As `_LISTED` takes them."""
    return list(keys) if dialect() == "postgres" else json.dumps(list(keys))


_LISTED = {"sqlite": "(SELECT value FROM json_each($1))", "postgres": "(SELECT unnest($1::uuid[]))"}

_IS_DUE = "due_at <= $4 AND lease_until IS NULL AND (expires_at IS NULL OR expires_at > $4)"
_HAS_NO_LIMITS = " AND ".join(f"{column} IS NULL" for column in COLUMNS)
_MAY_GO = (
    "EXISTS (SELECT 1 FROM service WHERE id = message.route_id AND is_active AND paused_at IS NULL"  # noqa: S608
    f" AND {_HAS_NO_LIMITS}) AND NOT EXISTS (SELECT 1 FROM circuit WHERE service_id = message.route_id)"
    f" AND {OWN_IS_OPEN} AND {IS_OPEN.format(service='message.route_id', moment='$4')}"
)
# What somebody has locked is left to the claim that waits for it alone.
_UNLOCKED = {
    "sqlite": _LISTED["sqlite"],
    "postgres": f"(SELECT id FROM message WHERE id IN {_LISTED['postgres']} FOR UPDATE SKIP LOCKED)",  # noqa: S608
}
_TAKE = {
    name: "UPDATE message SET lease_owner = $2, lease_until = $3, due_at = $3, claimed_at = $4, fence = fence + 1,"  # noqa: S608
    " state = 'sending', verdict_awaited = (verdict_awaited AND (fence = 0 OR route_id <> service_id))"
    f" WHERE id IN {unlocked} AND {_IS_DUE} AND {_MAY_GO}"
    f" RETURNING id, {ROUTE}, fallbacks, fence, expires_at, reverse_path, smtputf8, on_doubt, size_bytes,"
    " (SELECT version FROM service WHERE id = message.route_id) AS service_version,"
    f" {REVISION} AS revision, {RECIPIENT_COUNT}"
    for name, unlocked in _UNLOCKED.items()
}
_CLAIM_RECIPIENTS = {
    name: "UPDATE recipient SET state = 'claimed', attempt_number = attempt_number + 1, in_doubt = $3"  # noqa: S608
    f" WHERE message_id IN {listed} AND {IS_CLAIMABLE} AND due_at <= $2"
    " RETURNING id, message_id, address, attempt_number, tried_since, position"
    for name, listed in _LISTED.items()
}
_CONTENTS = {
    name: f"SELECT message_id, octets FROM message_content WHERE message_id IN {listed}"  # noqa: S608
    for name, listed in _LISTED.items()
}

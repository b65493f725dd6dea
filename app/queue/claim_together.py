"""Claims of many messages in one transaction, with their content where that is small.

They are those that have nothing in their way: no lease that has ended, no open circuit, no limits. Of these `claim`
says the same; whatever else there is, it decides.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

import orjson
from msgspec import Struct

from app.database.connection import as_key, as_moment, dialect, in_transaction, rows
from app.database.group_commit import running_unit
from app.database.values import kept_key_text, key_texts, moment_texts
from app.queue.allowance import IS_CLAIMABLE, IS_OPEN, OWN_IS_OPEN
from app.queue.claim import IS_DUE, TAKE, TAKE_RECIPIENTS, TAKEN, Claim, ClaimedRecipient
from app.queue.derive import refresh_message
from app.queue.doubt import OnDoubt
from app.queue.route import Via, keys_of
from app.queue.together import Take, Together
from app.services.pacing import COLUMNS

_SMALL = 64 * 1024
_ON_DOUBT = {choice.value: choice for choice in OnDoubt}


class PlainClaims:
    """Makes them for one worker: while one transaction is under way, the next one gathers, and waits for `chance`,
    which may say how many there are to be at most."""

    def __init__(
        self, worker_id: UUID, lease: float, chance: Callable[[], Awaitable[int | None]] | None = None
    ) -> None:
        self._worker_id = worker_id
        self._lease = timedelta(seconds=lease)
        self._chance = chance
        self._together: Together[Wanted] = Together(self._claim_together)

    def make(self, wanted: "Wanted") -> Coroutine[Any, Any, None]:
        """Claim the message, if nothing is in its way. Cancelled meanwhile, `wanted` may have its claim all the same.
        Raises what the database raises."""
        return self._together.do(wanted)

    async def _claim_together(self, take: "Take[Wanted]") -> None:
        most = await self._chance() if self._chance is not None else None
        if dialect() == "postgres":
            await self._claim_at_once(take(most))
        else:
            await in_transaction(lambda: self._claim(take, most))

    async def _claim_at_once(self, wanted: "Sequence[Wanted]") -> None:
        """On PostgreSQL, in one statement, which is a transaction of its own."""
        if not wanted:
            return
        moment = max([each.moment for each in wanted])
        by_key = {each.message_id: each for each in wanted}
        found = await rows(_CLAIM, list(by_key), self._worker_id, moment + self._lease, moment, _SMALL)
        for row in found:
            key, _, *taken, claimed, content = row.values()
            each = by_key[key]
            if claimed is not None:
                each.claim = self._made(each.message_id, taken, _recipients(claimed), content)
            else:
                await in_transaction(partial(_leave, each.message_id, self._worker_id, row["fence"], moment))

    async def _claim(self, take: "Take[Wanted]", most: int | None) -> None:
        """On SQLite, where nobody else writes meanwhile: found first, then taken, which is quicker than RETURNING."""
        wanted = take(most)
        if not wanted:
            return
        moment = max([each.moment for each in wanted])
        asked, until = moment_texts([moment, moment + self._lease])
        worker = kept_key_text(self._worker_id)
        by_key = dict(zip(key_texts([each.message_id for each in wanted]), wanted, strict=True))
        unit = running_unit()
        found = await unit.tuples(_FIND, [_listed(list(by_key)), worker, until, asked, _SMALL])
        if not found:
            return
        recipients = [_recipients(row[-2]) for row in found]
        keys = [row[0] for row in found]
        if len(keys) == 1:
            await unit.run(_TAKE_ONE, [*keys, worker, until, asked])
        else:
            await unit.run(_TAKE_LISTED, [_listed(keys), worker, until, asked])
        await unit.run_many(_TAKE_RECIPIENT, [(each.id,) for due in recipients for each in due])
        for (key, *taken, _, content), due in zip(found, recipients, strict=True):
            each = by_key[key]
            if due:
                each.claim = self._made(each.message_id, taken, due, content)
                each.claim.fence += 1  # it was read before
            else:
                await refresh_message(each.message_id, moment)

    def _made(
        self, message_id: UUID, taken: Sequence[Any], recipients: list[ClaimedRecipient], content: bytes | None
    ) -> Claim:
        """`taken`: the values of TAKEN."""
        name, own, route, reason, fallbacks, fence, expires_at, reverse_path, smtputf8, on_doubt, *others = taken
        service_version, revision, recipient_count = others
        return Claim(
            message_id=message_id,
            service_id=_service_key(route),
            worker_id=self._worker_id,
            fence=fence,
            reverse_path=reverse_path,
            smtputf8=bool(smtputf8),
            recipients=tuple(recipients),
            expires_at=as_moment(expires_at) if expires_at is not None else None,
            on_doubt=_ON_DOUBT[on_doubt],
            service_version=service_version,
            via=None if route == own else Via(as_key(own), as_key(route), name, reason),
            fallbacks=keys_of(fallbacks) if fallbacks else (),
            revision=revision,
            recipient_count=recipient_count,
            content=content,
        )


class Wanted(Struct, eq=False):
    """A message that is to be claimed, and when that was found; then its claim, if it was made."""

    message_id: UUID
    moment: datetime
    claim: Claim | None = None


@lru_cache(maxsize=1000)
def _service_key(stored: UUID | str) -> UUID:
    return as_key(stored)


def _listed(keys: Sequence[str]) -> str:
    return orjson.dumps(keys).decode()


async def _leave(message_id: UUID, worker_id: UUID, fence: int, moment: datetime) -> None:
    """Its recipients were taken out of the way while it was claimed."""
    held = await rows(
        "SELECT id FROM message WHERE id = $1 AND lease_owner = $2 AND fence = $3 FOR UPDATE",
        message_id,
        worker_id,
        fence,
    )
    if held:
        await refresh_message(message_id, moment)


def _recipients(document: str) -> list[ClaimedRecipient]:
    """In the order of their position, which comes first of what the document has of each."""
    return [
        ClaimedRecipient(key, address, number, as_moment(tried_since))
        for _, key, address, number, tried_since in sorted(orjson.loads(document))
    ]


_HAS_NO_LIMITS = " AND ".join(f"{column} IS NULL" for column in COLUMNS)
_MAY_GO = (
    "EXISTS (SELECT 1 FROM service WHERE id = message.route_id AND is_active AND paused_at IS NULL"  # noqa: S608
    f" AND {_HAS_NO_LIMITS}) AND NOT EXISTS (SELECT 1 FROM circuit WHERE service_id = message.route_id)"
    f" AND (service_id = route_id OR {OWN_IS_OPEN}) AND {IS_OPEN.format(service='message.route_id', moment='$4')}"
)
_LISTED = "(SELECT value AS listed FROM json_each($1))"
_SMALL_CONTENT = "(SELECT octets FROM message_content WHERE message_id = {0}.id AND {0}.size_bytes <= $5) AS octets"
_DUE_RECIPIENTS = (
    "(SELECT json_group_array(json_array(position, id, address, attempt_number + 1, tried_since))"  # noqa: S608
    f" FROM recipient WHERE message_id = message.id AND {IS_CLAIMABLE} AND due_at <= $4)"
)
_FIND = (
    f"SELECT id, {TAKEN}, {_DUE_RECIPIENTS}, {_SMALL_CONTENT.format('message')} FROM {_LISTED}"  # noqa: S608 - constants
    f" CROSS JOIN message ON id = listed WHERE {IS_DUE} AND {_MAY_GO}"
)
# Of IN SQLite makes a table, which takes it longer than to write one message.
_TAKE_ONE = f"{TAKE} WHERE id = $1"
_TAKE_LISTED = f"{TAKE} WHERE id IN {_LISTED}"
_TAKE_RECIPIENT = f"{TAKE_RECIPIENTS}FALSE WHERE id = $1"
# What somebody has locked is left to the claim that waits for it alone. An array of the others, not a table of them:
# for that PostgreSQL, as long as it has no statistics, looks at every message there is.
_WANTED = "ARRAY(SELECT id FROM message WHERE id = ANY ($1::uuid[]) FOR UPDATE SKIP LOCKED)"
_CLAIM = (
    f"WITH taken AS ({TAKE} WHERE id = ANY ({_WANTED}) AND {IS_DUE} AND {_MAY_GO}"  # noqa: S608 - constants
    f" RETURNING id, size_bytes, {TAKEN}),"
    f" claimed AS ({TAKE_RECIPIENTS}FALSE WHERE message_id = ANY (ARRAY(SELECT id FROM taken)) AND {IS_CLAIMABLE}"
    " AND due_at <= $4 RETURNING id, message_id, address, attempt_number, tried_since, position),"
    " listed AS (SELECT message_id, json_agg(json_build_array(position, id, address, attempt_number,"
    " tried_since))::text AS recipients FROM claimed GROUP BY message_id)"
    f" SELECT taken.*, recipients, {_SMALL_CONTENT.format('taken')}"
    " FROM taken LEFT JOIN listed ON listed.message_id = taken.id"
)

"""Final results of many messages on PostgreSQL: all that `settle` writes of them, in one statement, which is a
transaction of its own."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from app.database.connection import as_key, rows
from app.queue.announce import CHANNEL

Row = Mapping[str, Any]


async def write_at_once(ends: Sequence[Row], results: Sequence[Row]) -> set[UUID]:
    """Write the results of those messages whose lease is still held, and end it; which they are.

    `ends`: of each message the values of `_ENDS`; `results`: of each of their recipients those of `_RESULTS`. A row
    that somebody has locked is left out: nobody's result waits for another mail's lock.
    """
    held = await rows(
        _WRITE,
        orjson.dumps(ends, default=str).decode(),
        orjson.dumps(results, default=str).decode(),
        [end["id"] for end in ends],
        [result["recipient_id"] for result in results],
        CHANNEL,
    )
    return {as_key(row["id"]) for row in held}


SETTLED = "due_at = NULL, lease_owner = NULL, lease_until = NULL, crashes = 0"
"""What of a message's row is the same whatever the result."""

_ENDS = "id uuid, worker_id uuid, fence int, state text, settled_at timestamptz"
_RESULTS = (
    "message_id uuid, recipient_id uuid, worker_id uuid, attempt_id uuid, event_id uuid, service_id uuid,"
    " service_name text, fallback_reason text, began timestamptz, ended timestamptz, number int, outcome text,"
    " reply_code int, reply_enhanced text, reply_text text, type text, data text, created_at timestamptz"
)
# The keys come as arrays too: by a document PostgreSQL would not find the few rows, but look at all.
_WRITE = (
    "WITH held AS (SELECT message.id, given.state, given.settled_at"  # noqa: S608 - constants
    f" FROM json_to_recordset($1::json) AS given ({_ENDS})"
    " JOIN message ON message.id = given.id AND message.lease_owner = given.worker_id AND message.fence = given.fence"
    " WHERE message.id = ANY ($3::uuid[]) FOR UPDATE OF message SKIP LOCKED),"
    f" ended AS (UPDATE message SET state = held.state, settled_at = held.settled_at, {SETTLED}"
    " FROM held WHERE message.id = held.id AND message.id = ANY ($3::uuid[]) RETURNING message.id),"
    f" result AS (SELECT given.* FROM json_to_recordset($2::json) AS given ({_RESULTS})"
    " JOIN ended ON ended.id = given.message_id),"
    " recipients AS (UPDATE recipient SET state = outcome, due_at = NULL, reply_code = result.reply_code,"
    " reply_enhanced = result.reply_enhanced, reply_text = result.reply_text, detail = NULL,"
    " settled_at = result.ended, tried_since = COALESCE(tried_since, result.began)"
    " FROM result WHERE recipient.id = result.recipient_id AND recipient.id = ANY ($4::uuid[])),"
    " attempts AS (INSERT INTO attempt (id, message_id, recipient_id, worker_id, service_id, service_name,"
    " fallback_reason, started_at, finished_at, number, outcome, in_doubt, reply_code, reply_enhanced, reply_text)"
    " SELECT attempt_id, message_id, recipient_id, worker_id, service_id, service_name, fallback_reason, began, ended,"
    " number, outcome, FALSE, reply_code, reply_enhanced, reply_text FROM result),"
    " events AS (INSERT INTO event (id, message_id, recipient_id, type, data, created_at)"
    " SELECT event_id, message_id, recipient_id, type, data::jsonb, created_at FROM result)"
    " SELECT id, pg_notify($5, id::text) FROM ended"
)

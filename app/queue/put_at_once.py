"""Accept mails in one statement and one round trip, where all is as usual with all of them. On PostgreSQL.

The database's own function `may_accept` (see migrations/0018_accept.py) locks their quotas and looks; where it says
nothing, nothing is inserted, and `put` finds out what becomes of each.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import orjson
from tortoise.exceptions import IntegrityError

from app.access.quota import Standing, TakenTogether
from app.database.connection import insert_if
from app.database.values import as_document, as_moment
from app.queue.content import SlicedContent
from app.queue.engine import Engine
from app.queue.placed import accepted_rows, at_own_service, by_key, jobs_of, key_rows, message_rows

if TYPE_CHECKING:
    from app.queue.put import NewMessage


async def put_at_once(
    messages: "Sequence[NewMessage]", moment: datetime, engine: Engine
) -> list[Standing | None] | None:
    """How the tightest limit stands after each message, which are all accepted and durable then; None: none is, because
    there is something to be decided."""
    revisions = {message.revision for message in messages if message.revision is not None}
    if len(revisions) > 1 or not messages or any(isinstance(message.content, SlicedContent) for message in messages):
        return None
    placed = [at_own_service(message, moment) for message in messages]
    job_rows = engine.rows_of(jobs_of(placed))
    if job_rows is None:
        return None
    taken = TakenTogether([(message.quotas, len(message.recipients)) for message in messages], moment)
    asked = {
        "revision": next(iter(revisions), None),
        "services": {message.service_id for message in messages if message.verdict_awaited or message.fallbacks},
        "keys": [{"role_id": place.message.role_id, "key": idempotency.key} for place, idempotency in by_key(placed)],
        "subjects": taken.subjects,
        "windows": taken.windows,
        "moment": moment,
    }
    try:
        verdict = await insert_if(
            "may_accept($1::jsonb)",
            orjson.dumps(asked, default=_plain).decode(),
            message_rows(placed, moment),
            key_rows(placed, moment),
            *accepted_rows(placed, taken.takes, moment),
            job_rows,
        )
    except IntegrityError:  # the service or the API key of one of them is gone, or an idempotency key was just used
        return None
    if verdict is None:
        return None
    return taken.standings([(used, as_moment(latest)) for used, latest in as_document(verdict)])


def _plain(value: object) -> object:
    """A key that the driver made is of a class of its own."""
    return list(value) if isinstance(value, set) else str(value)

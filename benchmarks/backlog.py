"""How soon a start is ready, and delivers, with a long queue.

    python -m benchmarks.backlog --rows 100000
    python -m benchmarks.backlog --rows 100000 --deferred --database postgres

Fills a new database with accepted mail, then starts `heliograph serve` and looks at the clock. With `--deferred` all
but a few of the mails wait for their second attempt tomorrow. The exit status is 1 when it is not ready, or has not
delivered, within the seconds of `--ready-within` and `--first-within`.
"""

import asyncio
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.access.authenticate import authenticate
from app.clock import now
from app.database.connection import dialect, execute, execute_many, rows, transaction
from app.database.jobs import JOBS_TABLE
from app.database.key import new_key
from app.inbox.receiver import Receiver
from app.queue.choose import choose_engine
from app.queue.put import put
from app.queue.schedule import Schedule
from app.queue.states import MessageState, RecipientState
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from tests.factories import new_message
from tests.journeys.installation import database_options, database_url, new_installation, opened
from tests.journeys.ledger import Ledger
from tests.journeys.program import ADMIN_KEY, Heliograph

AT_ONCE = 1000
CONTENT = b"Message-ID: <backlog@example.com>\r\nSubject: Hello\r\n\r\nIt works.\r\n"


@dataclass(frozen=True, slots=True)
class Findings:
    """Seconds since the start of the process, and the queue's length when it was looked at last."""

    ready: float
    first_delivery: float
    deliveries: int
    all_deliveries: float
    rows: int

    def broken(self, *, ready_within: float, first_within: float) -> Iterator[str]:
        """What took longer than so many seconds."""
        if self.ready > ready_within:
            yield f"it was ready after {self.ready:.1f} s, not within {ready_within:g} s"
        if self.first_delivery > first_within:
            yield f"its first delivery was after {self.first_delivery:.1f} s, not within {first_within:g} s"

    def __str__(self) -> str:
        return (
            f"{self.rows} mails queued: ready after {self.ready:.1f} s,"
            f" first delivery after {self.first_delivery:.1f} s, {self.deliveries} after {self.all_deliveries:.1f} s"
        )


async def backlog(installed: Heliograph, *, mails: int, deferred: bool, deliveries: int = 20) -> Findings:
    """Fill, start, measure until so many `deliveries`; with `deferred`, no more than those are due."""
    ledger = Ledger()
    await installed.migrate()
    async with Receiver(on_mail=ledger.take) as receiver:
        async with installed.serving("--no-worker") as server:
            await server.doors.graphql.create_service("relay", port=receiver.port)
        async with opened(installed):
            await _fill(Settings(database_url=database_url(installed)), mails, deliveries if deferred else mails)
            (found,) = await rows("SELECT COUNT(*) AS mails FROM message WHERE due_at IS NOT NULL")
        clock = asyncio.get_running_loop().time
        started = clock()
        async with installed.serving():
            ready = clock() - started
            await ledger.wait_for(deliveries)
            all_deliveries = clock() - started
    first = min(copy.taken_at for copies in ledger.copies.values() for copy in copies)
    return Findings(ready, first - started, deliveries, all_deliveries, found["mails"])


async def _fill(settings: Settings, mails: int, due: int) -> None:
    """Accept one mail and copy its rows, and another one for those that are not due."""
    service = await Service.get(name="relay")
    principal = await authenticate(ADMIN_KEY, record_use_every=settings.api_key_use_interval)
    for count, later in ((due, timedelta(0)), (mails - due, timedelta(days=1))):
        if count:
            moment = now()
            message = new_message(service, principal, schedule=Schedule(send_at=moment + later), content=CONTENT)
            await put(message, moment, choose_engine(settings, Wakeup()))
            for begin in range(1, count, AT_ONCE):
                await _copy(message.id, [new_key() for _ in range(min(AT_ONCE, count - begin))])
    await _defer(now())


async def _copy(original: UUID, keys: Sequence[UUID]) -> None:
    """The rows that `put` wrote for one message, once more for each of `keys`, to different recipients."""
    async with transaction():
        await _copy_rows("message", f"id = '{original}'", [{"id": key} for key in keys])
        of_message = f"message_id = '{original}'"
        await _copy_rows("message_content", of_message, [{"message_id": key} for key in keys])
        await _copy_rows("recipient", of_message, [_recipient(key) for key in keys])
        await _copy_rows("event", of_message, [{"id": new_key(), "message_id": key} for key in keys])
        if dialect() == "postgres":
            changes = [{"payload": key.bytes, "dedupe_key": str(key)} for key in keys]
            await _copy_rows(JOBS_TABLE, f"dedupe_key = '{original}'", changes, without={"id"})


def _recipient(message_id: UUID) -> dict[str, object]:
    email = f"{message_id.hex}@x.example"
    return {"id": new_key(), "message_id": message_id, "email": email, "address": email}


async def _copy_rows(
    table: str, where: str, changes: Sequence[Mapping[str, object]], without: Collection[str] = ()
) -> None:
    (row,) = await rows(f"SELECT * FROM {table} WHERE {where}")
    columns = [column for column in row if column not in without]
    places = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
    await execute_many(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",
        [[change.get(column, row[column]) for column in columns] for change in changes],
    )


async def _defer(moment: datetime) -> None:
    """What is not due becomes what one attempt would have left of it."""
    async with transaction():
        await execute(
            "UPDATE recipient SET state = $2, attempt_number = 1, tried_since = $1 WHERE due_at > $1",
            moment,
            RecipientState.DEFERRED.value,
        )
        await execute(
            "UPDATE message SET state = $2, fence = 1, scheduled_at = NULL WHERE due_at > $1",
            moment,
            MessageState.DEFERRED.value,
        )


def main() -> int:
    """The program; returns its exit status."""
    parser = database_options(__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--deferred", action="store_true")
    parser.add_argument("--deliveries", type=int, default=20, help="how many to wait for")
    parser.add_argument("--ready-within", type=float, default=10, help="seconds from the start until it is ready")
    parser.add_argument("--first-within", type=float, default=15, help="seconds from the start to the first delivery")
    options = parser.parse_args()
    with new_installation(options) as installed:
        run = backlog(installed, mails=options.rows, deferred=options.deferred, deliveries=options.deliveries)
        findings = asyncio.run(run)
    print(findings)
    bounds = findings.broken(ready_within=options.ready_within, first_within=options.first_within)
    broken = [f"BROKEN: {promise}" for promise in bounds]
    print("\n".join(broken) or "every promise held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

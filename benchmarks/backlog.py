"""How soon a start is ready, and delivers, with a long queue.

    python -m benchmarks.backlog --rows 100000
    python -m benchmarks.backlog --rows 100000 --deferred --database postgres

Fills a new database with accepted mail, then starts `heliograph serve` and looks at the clock. With `--deferred` all
but a few of the mails wait for their second attempt tomorrow.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.access.authenticate import authenticate
from app.access.principal import Principal
from app.clock import now
from app.database.connection import execute, rows, transaction
from app.inbox.receiver import Receiver
from app.queue.choose import choose_engine
from app.queue.put import NewMessage, put
from app.queue.schedule import Schedule
from app.queue.states import MessageState, RecipientState
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from tests.factories import new_message
from tests.journeys.installation import database_options, database_url, new_installation, opened
from tests.journeys.ledger import Ledger
from tests.journeys.program import ADMIN_KEY, Heliograph

DUE_AMONG_DEFERRED = 20
FILLERS = 4
AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Findings:
    """Seconds since the start of the process, and the queue's length when it was looked at last."""

    ready: float
    first_delivery: float
    due_ones: float
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.rows} mails queued: ready after {self.ready:.1f} s,"
            f" first delivery after {self.first_delivery:.1f} s, {DUE_AMONG_DEFERRED} after {self.due_ones:.1f} s"
        )


async def backlog(installed: Heliograph, *, mails: int, deferred: bool) -> Findings:
    """Fill, start, measure."""
    ledger = Ledger()
    await installed.migrate()
    async with Receiver(on_mail=ledger.take) as receiver:
        async with installed.serving("--no-worker") as server:
            await server.doors.graphql.create_service("relay", port=receiver.port)
        async with opened(installed):
            await _fill(Settings(database_url=database_url(installed)), mails, deferred=deferred)
            (found,) = await rows("SELECT COUNT(*) AS mails FROM message WHERE due_at IS NOT NULL")
        clock = asyncio.get_running_loop().time
        started = clock()
        async with installed.serving():
            ready = clock() - started
            await ledger.wait_for(DUE_AMONG_DEFERRED)
            due_ones = clock() - started
    first = min(copy.taken_at for copies in ledger.copies.values() for copy in copies)
    return Findings(ready, first - started, due_ones, found["mails"])


async def _fill(settings: Settings, mails: int, *, deferred: bool) -> None:
    service = await Service.get(name="relay")
    principal = await authenticate(ADMIN_KEY, record_use_every=settings.api_key_use_interval)
    engine, moment = choose_engine(settings, Wakeup()), now()
    later = Schedule(send_at=moment + timedelta(days=1)) if deferred else Schedule()

    async def fill(numbers: Sequence[int]) -> None:
        for begin in range(0, len(numbers), AT_ONCE):
            async with transaction():
                for number in numbers[begin : begin + AT_ONCE]:
                    schedule = Schedule() if number < DUE_AMONG_DEFERRED else later
                    await put(_mail(number, service, principal, schedule), moment, engine)

    async with asyncio.TaskGroup() as tasks:
        for filler in range(FILLERS):
            tasks.create_task(fill(range(mails)[filler::FILLERS]))
    if deferred:
        await _defer(moment)


def _mail(number: int, service: Service, principal: Principal, schedule: Schedule) -> NewMessage:
    message = new_message(service, principal, f"{number}@x.example", schedule=schedule)
    content = f"Message-ID: {message.message_id_header}\r\nSubject: Hello\r\n\r\nIt works.\r\n"
    return replace(message, content=content.encode())


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
    options = parser.parse_args()
    with new_installation(options) as installed:
        print(asyncio.run(backlog(installed, mails=options.rows, deferred=options.deferred)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

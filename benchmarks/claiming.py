"""Claim and settle queued mail through the engine, as a worker does, but without any SMTP.

    python -m benchmarks.claiming DATABASE-URL SERVICE COUNT

Writes the milliseconds that each hundred took, and the microseconds of CPU for each mail, as JSON.
"""

import asyncio
import json
import sys
import time
from uuid import UUID

from app.clock import now
from app.database.connection import close_database, open_database
from app.database.key import new_key
from app.mail.reply import Reply
from app.queue.choose import choose_engine
from app.queue.claim import claim_message
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings

AT_ONCE = 10
WARM_UP = 100
LEASE = 60
TAKEN = Reply(250, "taken")


class Claims:
    """What the engine calls for each message; counts, and stops it."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._worker = new_key()
        self._done = 0
        self._began = (0.0, 0.0)
        self.stop = asyncio.Event()
        self.took = (0.0, 0.0)

    async def handle(self, message_id: UUID) -> None:
        """Claim it, and settle it as sent."""
        moment = now()
        claim = await claim_message(self._worker, message_id, moment, LEASE)
        if claim is None:
            return
        sent = [Settlement(r.id, r.number, RecipientState.SENT, reply=TAKEN) for r in claim.recipients]
        await settle(claim, lambda _: sent, moment, now())
        self._done += 1
        if self._done == WARM_UP:
            self._began = time.perf_counter(), time.process_time()
        elif self._done == WARM_UP + self._count:
            self.took = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
            self.stop.set()


async def claim_and_settle(database_url: str, service: str, count: int) -> dict[str, float]:
    """So many of this service, after a warm-up."""
    settings = Settings(database_url=database_url)
    await open_database(settings)
    try:
        wakeup, claims = Wakeup(), Claims(count)
        engine = choose_engine(settings, wakeup)
        engine.services_changed({(await Service.get(name=service)).id: AT_ONCE})
        async with asyncio.timeout(300):
            await engine.run(claims.handle, claims.stop)
    finally:
        await close_database()
    wall, cpu = claims.took
    return {"ms": wall / count * 100 * 1000, "cpu": cpu / count * 1e6}


def main() -> None:
    """The program."""
    url, service, count = sys.argv[1:]
    import uvloop

    print(json.dumps(uvloop.run(claim_and_settle(url, service, int(count)))), flush=True)


if __name__ == "__main__":
    main()

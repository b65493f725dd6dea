"""API and worker processes on one PostgreSQL: each mail is accepted once, claimed once, and arrives once.

    python -m tests.journeys.scale_out --mails 10000

Two `heliograph serve --no-worker` and four `heliograph worker` share the database. The exit status is 1 when a promise
is broken.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.database.connection import as_key, rows
from app.database.key import public_id
from app.inbox.receiver import Receiver
from tests.journeys.fleet import CLIENTS, PATIENCE, launched, send_all, settled
from tests.journeys.installation import database_options, new_installation, opened
from tests.journeys.ledger import Copy, Ledger, senders
from tests.journeys.program import Finished, Heliograph


@dataclass(frozen=True, slots=True)
class Findings:
    """What became of the mails. `claims`: fence to messages; `attempts`: attempt number to recipients."""

    mails: int
    seconds: float
    acknowledged: Mapping[str, str]
    copies: Mapping[str, Sequence[Copy]]
    stored: Mapping[str, str]
    states: Mapping[str, int]
    claims: Mapping[int, int]
    attempts: Mapping[int, int]
    ends: Sequence[Finished]

    @property
    def sent_by(self) -> Counter[str]:
        """How many copies each worker sent."""
        return senders(self.copies)

    def broken(self) -> Iterator[str]:
        """Which promises did not hold."""
        if len(self.acknowledged) != self.mails or self.stored != self.acknowledged:
            yield "the stored messages are not those that were acknowledged, one for each mail"
        if Counter(len(copies) for copies in self.copies.values()) != {1: self.mails}:
            yield "not every mail arrived exactly once"
        if self.copies.keys() != self.acknowledged.keys():
            yield "what arrived is not what was acknowledged"
        if self.states != {"sent": self.mails}:
            yield f"not every mail is sent: {self.states}"
        if self.claims != {1: self.mails}:
            yield f"a message was claimed more than once: {self.claims}"
        if self.attempts != {1: self.mails}:
            yield f"a recipient was tried more than once: {self.attempts}"
        if any(end.status or "Traceback" in end.errors for end in self.ends):
            yield f"a process did not end as it should: {[end.status for end in self.ends]}"

    def __str__(self) -> str:
        copies = sum(self.sent_by.values())
        return "\n".join(
            [
                f"mails       {len(self.acknowledged)} acknowledged, all settled after {self.seconds:.0f} s",
                f"copies      {copies}, {copies - len(self.copies)} too many, {self.mails - len(self.copies)} lost",
                f"claims      {dict(self.claims)} by fence, attempts {dict(self.attempts)} by number",
                f"by worker   {dict(sorted(self.sent_by.items()))}",
            ]
        )


async def scale_out(installed: Heliograph, *, mails: int, apis: int, workers: int) -> Findings:
    """Send the mails through all API processes in turn, and more until every worker has sent some; wait until
    everything is settled, and look. TimeoutError where a worker has sent none after PATIENCE seconds of those.

    No worker ends before that: leases are as long as by default, so that none runs out where a machine is busy.
    """
    installed = installed.having(lease=60, lease_renewal=20)
    ledger, numbers = Ledger(), asyncio.Queue[int | None](CLIENTS)
    async with (
        Receiver(on_mail=ledger.take) as receiver,
        launched(installed, apis=apis, workers=workers, alone=False) as fleet,
    ):
        await (await fleet.doors()).graphql.create_service("relay", port=receiver.port)
        started = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            numbering = group.create_task(_number(numbers, mails, lambda: len(senders(ledger.copies)) >= workers))
            sending = group.create_task(send_all(fleet, numbers))
        mails, acknowledged = numbering.result(), sending.result()
        async with opened(installed):
            await settled()
            seconds = asyncio.get_running_loop().time() - started
            states = {row["state"]: row["mails"] for row in await _counted("message", "state")}
            claims = {row["fence"]: row["mails"] for row in await _counted("message", "fence")}
            attempts = {row["number"]: row["mails"] for row in await _counted("attempt", "number")}
            stored = await rows("SELECT email, message_id FROM recipient")
        for member in fleet.members:
            member.life.process.terminate()
        ends = [await member.life.process.ended() for member in fleet.members]
    ids = {row["email"]: public_id("msg", as_key(row["message_id"])) for row in stored}
    return Findings(mails, seconds, acknowledged, ledger.copies, ids, states, claims, attempts, ends)


async def _number(numbers: "asyncio.Queue[int | None]", mails: int, enough: Callable[[], bool]) -> int:
    """Number so many mails, and then more until there are enough; returns how many there are."""
    for number in range(mails):
        await numbers.put(number)
    async with asyncio.timeout(PATIENCE):
        while not enough():
            await numbers.put(mails)
            mails += 1
    await numbers.put(None)
    return mails


async def _counted(table: str, column: str) -> list[dict[str, Any]]:
    return await rows(f"SELECT {column}, COUNT(*) AS mails FROM {table} GROUP BY {column}")


def main() -> int:
    """The program; returns its exit status."""
    parser = database_options(__doc__)
    parser.set_defaults(database="postgres")
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--apis", type=int, default=2)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    with new_installation(options) as installed:
        run = scale_out(installed, mails=options.mails, apis=options.apis, workers=options.workers)
        findings = asyncio.run(run)
    print(findings)
    broken = [f"BROKEN: {promise}" for promise in findings.broken()]
    print("\n".join(broken) or "every promise held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

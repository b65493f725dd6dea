"""Mails under SIGKILLs of API and worker processes: none is lost, and a copy too many comes only from the final dot.

    python -m tests.journeys.crash --mails 10000 --kills 50
    python -m tests.journeys.crash --mails 10000 --kills 50 --database postgres

On SQLite one `heliograph serve`, which delivers too, and two `heliograph worker` share the file; on PostgreSQL two
`serve --no-worker` and three `worker` share the database. Each kill hits an API process, a worker or all of them, at a
random moment, also while it starts; what was killed is started again. Clients repeat a mail, with its idempotency key,
until it is acknowledged. HELIOGRAPH_MAX_CRASHES is above the number of kills: no mail is parked that random kills hit
three times in a row.

A process that is killed between the server's reply to the final dot and its own commit leaves a mail that is sent
again. While there is a backlog, it has up to HELIOGRAPH_SMTP_UNSETTLED such mails for each of its connections. The exit
status is 1 when anything else was doubled or lost, or when a mail was taken more than IN_DOUBT before the kill and not
written down.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from app.database.connection import as_key, rows
from app.database.key import public_id
from app.inbox.receiver import Receiver
from tests.journeys.fleet import Fleet, Life, Member, launched, send_all, settled
from tests.journeys.installation import database_options, is_on_postgres, new_installation, opened
from tests.journeys.ledger import Copy, Ledger
from tests.journeys.program import Heliograph

CONNECTIONS = 5
UNSETTLED = 2
"""Mails for each connection that may have left without a written result, as by default."""
LONGEST_DELAY = 0.2
IN_DOUBT = 0.1
"""Seconds within which it is written down that a mail was taken, on a machine that has nothing else to do."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What became of the mails. `doubles`: every copy but a mail's last, with the life of the process that sent it."""

    mails: int
    kills: int
    seconds: float
    acknowledged: Mapping[str, str]
    copies: Mapping[str, Sequence[Copy]]
    stored: Sequence[Mapping[str, Any]]
    lives: Mapping[str, Life]

    @property
    def lost(self) -> list[str]:
        """Acknowledged, and never arrived."""
        return sorted(self.acknowledged.keys() - self.copies.keys())

    @property
    def doubles(self) -> list[tuple[Copy, Life]]:
        """What arrived and had to be sent again."""
        return [(copy, self.lives[copy.sender]) for copies in self.copies.values() for copy in copies[:-1]]

    @property
    def renamed(self) -> list[str]:
        """Mails whose copies are not all of one Message-ID, the stored one."""
        expected = {row["email"]: {row["message_id_header"]} for row in self.stored}
        return [mail for mail, copies in self.copies.items() if {c.message_id for c in copies} != expected.get(mail)]

    @property
    def doubled_by_kill(self) -> Counter[int]:
        """How many mails each kill doubled, where it doubled any."""
        return Counter(life.killed_by for _, life in self.doubles if life.killed_by is not None)

    @property
    def in_doubt(self) -> list[float]:
        """For how many seconds each mail that was doubled had been taken when its sender was killed."""
        return [(life.killed_at or 0) - copy.taken_at for copy, life in self.doubles]

    def broken(self) -> Iterator[str]:
        """Which promises did not hold."""
        if self.lost:
            yield f"lost: {self.lost}"
        if len(self.acknowledged) != self.mails or self.copies.keys() - self.acknowledged.keys():
            yield "not every mail was acknowledged, or one arrived that was not"
        if {row["email"]: public_id("msg", as_key(row["id"])) for row in self.stored} != self.acknowledged:
            yield "the stored messages are not those that were acknowledged"
        if unsent := [row for row in self.stored if row["state"] != "sent"]:
            yield f"not sent: {unsent}"
        if self.renamed:
            yield f"copies with another Message-ID: {self.renamed}"
        if strays := [copy for copy, life in self.doubles if life.killed_at is None]:
            yield f"doubled by a process that was not killed: {strays}"
        crowd = Counter(life.name for _, life in self.doubles)
        if too_many := {name: count for name, count in crowd.items() if count > CONNECTIONS * UNSETTLED}:
            yield f"a killed process doubled more mails than it may have unsettled: {too_many}"

    def __str__(self) -> str:
        killed = [life for life in self.lives.values() if life.killed_at is not None]
        ages = self.in_doubt
        per_kill = Counter(self.doubled_by_kill.values())
        lines = [
            f"mails                             {len(self.acknowledged)} acknowledged in {self.seconds:.0f} s",
            f"kills                             {self.kills}, of {len(killed)} processes",
            f"lost                              {len(self.lost)}",
            f"duplicates                        {len(self.doubles)}",
            f"  kills that doubled so many      {dict(sorted(per_kill.items()))}",
            f"  copies with another Message-ID  {len(self.renamed)}",
        ]
        if ages:
            lines.append(f"  taken before the kill by        {min(ages) * 1000:.0f} to {max(ages) * 1000:.0f} ms")
        return "\n".join(lines)


async def crash(installed: Heliograph, *, mails: int, kills: int, seed: int) -> Findings:
    """Send the mails, kill meanwhile, wait until everything is settled, and look."""
    on_postgres = is_on_postgres(installed)
    shape = {"apis": 2, "workers": 3} if on_postgres else {"apis": 1, "workers": 2}
    installed = installed.having(smtp_max_connections=CONNECTIONS, smtp_unsettled=UNSETTLED, max_crashes=kills + 1)
    ledger, numbers = Ledger(), asyncio.Queue[int | None]()
    started = asyncio.get_running_loop().time()
    async with (
        Receiver(on_mail=ledger.take) as receiver,
        launched(installed, **shape, alone=not on_postgres) as fleet,
        asyncio.TaskGroup() as tasks,
    ):
        await (await fleet.doors()).graphql.create_service("relay", port=receiver.port)
        sending = tasks.create_task(send_all(fleet, numbers))
        await _kill_meanwhile(fleet, ledger, numbers, mails, kills, random.Random(seed))
        acknowledged = await sending
        await ledger.wait_for(mails)
        async with opened(installed):
            await settled()
            stored = await rows(
                "SELECT recipient.email, message.id, message.state, message.message_id_header"
                " FROM message JOIN recipient ON recipient.message_id = message.id"
            )
    seconds = asyncio.get_running_loop().time() - started
    return Findings(mails, kills, seconds, acknowledged, ledger.copies, stored, fleet.lives)


async def _kill_meanwhile(
    fleet: Fleet, ledger: Ledger, numbers: "asyncio.Queue[int | None]", mails: int, kills: int, chance: random.Random
) -> None:
    """Hand out the mails share by share, and kill somewhere in the midst of each share but the last."""
    bounds = [mails * share // (kills + 1) for share in range(kills + 2)]
    for kill, (begin, end) in enumerate(pairwise(bounds), 1):
        for number in range(begin, end):
            numbers.put_nowait(number)
        if kill > kills:
            break
        await ledger.wait_for(chance.randint(begin, end - 1))
        await asyncio.sleep(chance.uniform(0, LONGEST_DELAY))
        victims = _victims(fleet, chance)
        await asyncio.gather(*(member.kill(kill) for member in victims))
        for member in victims:
            await member.start()
    numbers.put_nowait(None)


def _victims(fleet: Fleet, chance: random.Random) -> list[Member]:
    kinds = [chance.choice(fleet.apis)], [chance.choice(fleet.workers)], fleet.members
    return chance.choice(kinds)


def main() -> int:
    """The program; returns its exit status."""
    parser = database_options(__doc__)
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and victims")
    options = parser.parse_args()
    with new_installation(options) as installed:
        findings = asyncio.run(crash(installed, mails=options.mails, kills=options.kills, seed=options.seed))
    print(findings)
    broken = [f"BROKEN: {promise}" for promise in findings.broken()]
    if late := [f"{seconds * 1000:.0f} ms" for seconds in findings.in_doubt if seconds > IN_DOUBT]:
        broken.append(f"BROKEN: taken, and not written down within {IN_DOUBT * 1000:.0f} ms: {', '.join(late)}")
    print("\n".join(broken) or "every promise held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

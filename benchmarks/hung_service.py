"""What a service whose SMTP server hangs does to the mail of a healthy one.

    python -m benchmarks.hung_service --mails 500 --hung 1000
    python -m benchmarks.hung_service --mails 500 --hung 1000 --database postgres

Sends mail through the healthy service twice: alone, and while another service has a long queue for a server that takes
every mail up to its final dot and never says what became of it. Prints the queue delay of both, from the acceptance of
a mail to the beginning of its attempt, and their ratio. The exit status is 1 when the ratio is above `--most`, or when
the other service did not hang all the while.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.database.connection import as_moment, rows
from app.inbox.receiver import Hang, Receiver, Stage
from tests.journeys.doors import Doors
from tests.journeys.installation import database_options, new_installation, opened
from tests.journeys.ledger import Ledger
from tests.journeys.program import Heliograph

CLIENTS = 4
CONNECTIONS = 5
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Findings:
    """Queue delays of the healthy service's mails in seconds, each in ascending order. Of the hung service's, when the
    last of the healthy one had arrived: how many were not settled, and how many still waited for the reply to their
    final dot in their first attempt."""

    baseline: Sequence[float]
    beside: Sequence[float]
    unsettled: int
    hanging: int

    @property
    def ratio(self) -> float:
        """p95 beside the hung service to p95 alone."""
        return p95(self.beside) / p95(self.baseline)

    def broken(self, most: float) -> Iterator[str]:
        """What is not as it must be, with a ratio of at most `most`."""
        if self.ratio > most:
            yield f"the p95 ratio is {self.ratio:.2f}, above {most:g}"
        if self.hanging != CONNECTIONS:
            yield f"{self.hanging} attempts of the hung service were hanging, not {CONNECTIONS}"

    def __str__(self) -> str:
        lines = [
            f"{name:18} p50 {delays[len(delays) // 2] * 1000:.1f} ms, p95 {p95(delays) * 1000:.1f} ms"
            for name, delays in (("alone", self.baseline), ("beside a hung one", self.beside))
        ]
        lines += [
            f"p95 ratio          {self.ratio:.2f}",
            f"of the hung one    {self.unsettled} not settled, {self.hanging} of them hanging",
        ]
        return "\n".join(lines)


def p95(ascending: Sequence[float]) -> float:
    """The 95th percentile."""
    return ascending[len(ascending) * 95 // 100]


async def hung_service(installed: Heliograph, *, mails: int, hung: int) -> Findings:
    """Send `mails` through the healthy service alone, then `hung` through the other one, then `mails` beside it.

    A dot without a reply neither opens a circuit nor ends an attempt before `smtp_dot_timeout`, ten minutes by default:
    each connection that the service may have is taken for as long as this runs. So `hung` is at least CONNECTIONS.
    """
    ledger = Ledger()
    installed = installed.having(smtp_max_connections=CONNECTIONS, drain_timeout=1, lease=60, lease_renewal=20)
    await installed.migrate()
    async with Receiver(on_mail=ledger.take) as healthy, Receiver(keep=True) as silent:
        silent.script.on(Stage.DOT, Hang())
        async with installed.serving() as server:
            await server.doors.graphql.create_service("healthy", port=healthy.port)
            await server.doors.graphql.create_service("silent", port=silent.port)
            await _send(server.doors, "healthy", "warm-up", WARM_UP)
            await ledger.wait_for(WARM_UP)
            await _send(server.doors, "healthy", "first", mails)
            await ledger.wait_for(WARM_UP + mails)
            await _send(server.doors, "silent", "hung", hung)
            while _with_data(silent) < CONNECTIONS:  # noqa: ASYNC110 - no event reaches from there to here
                await asyncio.sleep(0.02)
            await _send(server.doors, "healthy", "second", mails)
            await ledger.wait_for(WARM_UP + 2 * mails)
            server.terminate()
            await server.ended()
        async with opened(installed):
            delays = await _delays("first-%"), await _delays("second-%")
            return Findings(*delays, await _hung("due_at IS NOT NULL"), await _hung("state = 'sending' AND fence = 1"))


async def _send(doors: Doors, service: str, name: str, mails: int) -> None:
    numbers = iter(range(mails))

    async def client() -> None:
        for number in numbers:
            body = {"to": f"{name}-{number}@x.example", "subject": "Hello", "body_text": "Hello."}
            answer = await doors.rest.send(service, body, Prefer="respond-async")
            assert answer.status_code == 202, answer.text

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())


def _with_data(receiver: Receiver) -> int:
    return sum("DATA" in session.verbs for session in receiver.sessions)


async def _delays(emails: str) -> list[float]:
    found = await rows(
        "SELECT message.created_at, attempt.started_at FROM message JOIN attempt ON attempt.message_id = message.id"
        " JOIN recipient ON recipient.id = attempt.recipient_id WHERE attempt.number = 1 AND recipient.email LIKE $1",
        emails,
    )
    return sorted((as_moment(row["started_at"]) - as_moment(row["created_at"])).total_seconds() for row in found)


async def _hung(which: str) -> int:
    (found,) = await rows(f"SELECT COUNT(*) AS mails FROM message WHERE service_name = 'silent' AND {which}")
    return int(found["mails"])


def main() -> int:
    """The program; returns its exit status."""
    parser = database_options(__doc__)
    parser.add_argument("--mails", type=int, default=500, help="through the healthy service, each time")
    parser.add_argument("--hung", type=int, default=1000, help="queued for the one that hangs")
    parser.add_argument("--most", type=float, default=2, help="what the ratio may be")
    options = parser.parse_args()
    with new_installation(options) as installed:
        findings = asyncio.run(hung_service(installed, mails=options.mails, hung=options.hung))
    print(findings)
    broken = [f"BROKEN: {promise}" for promise in findings.broken(options.most)]
    print("\n".join(broken) or "every promise held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

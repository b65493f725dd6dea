"""Round trips: how often one connection waits for a distant server, for each mail."""

from collections.abc import Sequence
from functools import partial

from benchmarks.heliograph import Installed, Ours, serving, working
from benchmarks.load.requests import SENDER, SERVICE
from benchmarks.process import SERVER_CORE, python, running
from benchmarks.result import Bound, Metric, Table
from benchmarks.run import Bench, Case, Sample, Wrong, rounds_of, sink

METRICS = (
    Metric("waits", "waits/mail", 2, lower=True),
    Metric("delays", "delays/mail", 2, lower=True),
    Metric("rate", "mails/s", 1),
)
PIPELINED = Bound(2.1, 1.1)
CHUNKED = Bound(None, 0.25)
SLOW = 50.0
LEAST_SECONDS = 3.0
PLACES = [(delay, recipients) for delay in (20.0, SLOW) for recipients in (1, 10)]
PEERS = {
    "nodemailer": ["node", "benchmarks/peers/nodemailer.mjs"],
    "aiosmtplib": python("benchmarks.peers.aiosmtplib_sender"),
}
NOTE = (
    "One connection with a backlog; every reply of the server leaves 20 or 50 ms late. A wait is a moment at which the"
    " server has answered everything that the client had sent; delays per mail are the time over that delay."
)


async def measure(bench: Bench) -> Table:
    """The table; what waits for 50 ms is measured once, because it differs by no more than the delay."""
    cases = [
        Case(
            f"Heliograph, {'CHUNKING' if chunking else 'PIPELINING'}, {_place(*place)}",
            partial(ours, bench, *place, chunking=chunking),
            {"waits": CHUNKED if chunking else PIPELINED},
            ours=True,
            rounds=_rounds(place[0]),
        )
        for chunking in (False, True)
        for place in PLACES
    ]
    cases += [
        Case(f"{name}, {_place(*place)}", partial(_peer, bench, command, *place), rounds=_rounds(place[0]))
        for name, command in PEERS.items()
        for place in PLACES
    ]
    rows = await rounds_of(bench, "round_trips", cases)
    title = "Waits for a distant SMTP server per mail, one connection"
    return Table("round_trips", title, METRICS, "waits", rows, (NOTE,))


def _place(delay: float, recipients: int) -> str:
    return f"{delay:.0f} ms, {recipients} recipient{'s' * (recipients > 1)}"


def _rounds(delay: float) -> int | None:
    return 1 if delay == SLOW else None


async def ours(bench: Bench, delay: float, recipients: int, *, chunking: bool) -> Sample:
    """A backlog that was accepted before, and then a worker."""
    mails = max(20, int(bench.seconds * 30))
    async with sink(delay=delay, chunking=chunking) as receiver:
        given = Installed(None, bench.checkout, connections=1)
        async with serving(given, sink_port=receiver.port, worker=False) as server:
            await accept_backlog(server, mails, recipients)
            worker = await working(server.installed)
            told = await receiver.all_arrived(1, mails * recipients, 30 + mails * (recipients + 5) * delay / 1000)
            await worker.kill()
    seconds = (told["last_at"] - told["first_at"]) / (mails - 1)
    return {"waits": told["waits"] / mails, "delays": seconds / delay * 1000, "rate": 1 / seconds}


async def accept_backlog(server: Ours, mails: int, recipients: int) -> None:
    """So many mails, each to its own recipients, numbered from 1 on."""
    doors = server.server.doors.with_key(server.api_key)
    for number in range(mails):
        to = [f"m{number * recipients + place:08d}@load.example" for place in range(1, recipients + 1)]
        mail = {"to": to, "from_email": SENDER, "subject": f"Number {number}", "body_text": "Hello.\n" * 20}
        answer = await doors.rest.send(SERVICE, mail, Prefer="respond-async")
        if answer.status_code != 202:
            raise Wrong(f"a mail was refused: {answer.text}")


async def _peer(bench: Bench, command: Sequence[str], delay: float, recipients: int) -> Sample:
    async with sink(delay=delay) as receiver:
        arguments = [str(receiver.port), "1", str(max(bench.seconds, LEAST_SECONDS)), "1", str(recipients)]
        async with running([*command, *arguments], SERVER_CORE) as program:
            told = await program.ask()
        arrived = await receiver.all_arrived(1, told["last"], 10)
    if not told["sent"]:
        raise Wrong("it was too slow to be measured")
    seconds = told["seconds"] / told["sent"]
    waits = arrived["waits"] / arrived["messages"]
    return {"waits": waits, "delays": seconds / delay * 1000, "rate": 1 / seconds}

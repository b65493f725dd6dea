"""End to end: mails a second from the request to the SMTP server's reply, on one core, beside relays and senders."""

import time
from collections.abc import Sequence
from functools import partial

from benchmarks.floors import ECHO, echo_sample
from benchmarks.heliograph import Installed, serving
from benchmarks.load.requests import REST_BYTES
from benchmarks.load.wrk import post_all
from benchmarks.postfix import feed, relaying
from benchmarks.process import SERVER_CORE, python, running
from benchmarks.result import Bound, Metric, Table
from benchmarks.run import Bench, Case, Sample, Sink, Wrong, rounds_of, sink
from benchmarks.tables.accept import DOORS

CONNECTIONS = 10
DRAINED_WITHIN = 300
NODEMAILER = f"nodemailer, pool of {CONNECTIONS}"
POSTFIX = "Postfix as a relay"
METRICS = (
    Metric("x_postfix", "x Postfix", 2),
    Metric("x_nodemailer", "x nodemailer", 2),
    Metric("rate", "delivered/s"),
    Metric("cpu", "CPU us/mail", lower=True),
    Metric("x_cpu", "CPU x echo request", 1, lower=True),
)
BOUNDS = {"x_postfix": Bound(3, 5), "x_nodemailer": Bound(1.0, 1.5), "x_cpu": Bound(6, 4)}
SENDERS = {
    f"aiosmtplib, {CONNECTIONS} connections": "aiosmtplib_sender",
    f"FastAPI-mail, {CONNECTIONS} at once": "fastapi_mail_sender",
    "Django, one connection": "django_sender",
}
NOTE = (
    "Heliograph and Postfix take each mail from a client and acknowledge it once it is on the disk; the others keep"
    " nothing, and have no client. An echo request is a request to the bare Starlette echo of the accept table."
)


async def measure(bench: Bench) -> Table:
    """The table."""
    cases = [
        Case(ECHO, partial(_echo, bench)),
        *(
            Case(f"{door}, {where}", partial(deliver, bench, door, kind), BOUNDS if door == "REST" else {}, ours=True)
            for kind, where in (("sqlite", "SQLite FULL"), ("postgres", "PostgreSQL"))
            for door in DOORS
        ),
        Case(POSTFIX, partial(_postfix, bench)),
        Case(NODEMAILER, partial(_nodemailer, bench)),
        *(Case(name, partial(_sender, bench, module)) for name, module in SENDERS.items()),
    ]
    rows = await rounds_of(bench, "end_to_end", cases)
    table = Table(
        "end_to_end", "End to end on one core, durable, beside relays and senders", METRICS, "rate", rows, (NOTE,)
    )
    for row in rows[1:]:
        row.compare("rate", table.row(POSTFIX), "rate", "x_postfix")
        row.compare("rate", table.row(NODEMAILER), "rate", "x_nodemailer")
        row.compare("cpu", rows[0], "cpu", "x_cpu")
    return table


async def _echo(bench: Bench) -> Sample:
    """Its CPU only: it delivers nothing."""
    return {"cpu": (await echo_sample(bench))["cpu"]}


async def deliver(bench: Bench, door: str, kind: str) -> Sample:
    """One round of ours: the load for the seconds, then the rest of the queue; the rate is that of the whole."""
    async with bench.database(kind) as url, sink() as receiver:
        given = Installed(url, bench.checkout, connections=CONNECTIONS)
        async with serving(given, sink_port=receiver.port) as ours:
            cpu = ours.cpu()
            load = await post_all(ours.url, DOORS[door](ours.api_key), bench.seconds, ours.cpu)
            told = await receiver.all_arrived(1, load.sent, DRAINED_WITHIN)
            return _sample(load.sent, told["last_at"] - load.began, ours.cpu() - cpu)


async def _postfix(bench: Bench) -> Sample:
    async with sink() as receiver, relaying(receiver.port, CONNECTIONS) as relay:
        await feed(relay.port, 20, REST_BYTES)
        await receiver.all_arrived(1, 20, DRAINED_WITHIN)
        await receiver.reset()
        mails = max(100, int(bench.seconds * 600))
        cpu, began = relay.cpu(), time.monotonic()
        await feed(relay.port, mails, REST_BYTES)
        told = await receiver.all_arrived(1, mails, DRAINED_WITHIN)
        return _sample(mails, told["last_at"] - began, relay.cpu() - cpu)


async def _nodemailer(bench: Bench) -> Sample:
    async with sink() as receiver:
        return await _sent(bench, receiver, ["node", "benchmarks/peers/nodemailer.mjs"])


async def _sender(bench: Bench, module: str) -> Sample:
    async with sink() as receiver:
        return await _sent(bench, receiver, python(f"benchmarks.peers.{module}"))


async def _sent(bench: Bench, receiver: Sink, command: Sequence[str]) -> Sample:
    """What a sender tells of itself, if the sink has seen the same."""
    arguments = [str(receiver.port), str(CONNECTIONS), str(bench.seconds), "1"]
    async with running([*command, *arguments], SERVER_CORE) as program:
        told = await program.ask()
    await receiver.all_arrived(1, told["last"], 10)
    return _sample(told["sent"], told["seconds"], told["cpu"])


def _sample(mails: int, seconds: float, cpu: float) -> Sample:
    if not mails:
        raise Wrong("nothing was sent")
    return {"rate": mails / seconds, "cpu": cpu / mails * 1e6}

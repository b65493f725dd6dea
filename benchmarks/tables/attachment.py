"""One attachment of 25 MiB: memory above idle of the API and of the worker, and the longest stall meanwhile."""

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import httpx2
import orjson

from benchmarks.heliograph import Installed, Ours, serving, working
from benchmarks.load.requests import SENDER, SERVICE
from benchmarks.process import LOAD_CORE, forget_peak, peak_bytes, python, resident_bytes, running
from benchmarks.result import Bound, Metric, Table
from benchmarks.run import Bench, Case, Sample, Sink, Wrong, rounds_of, sink
from benchmarks.spread import percentile
from tests.journeys.doors import SEND_EMAIL

MEBIBYTE = 1024 * 1024
SIZE = 25 * MEBIBYTE
WITHIN = 120
IDLE_SECONDS = 1
METRICS = (
    Metric("stall", "longest stall ms", lower=True),
    Metric("api", "API: peak/size", 2, lower=True),
    Metric("worker", "worker: peak/size", 2, lower=True),
    Metric("idle", "p99 when idle ms", 1, lower=True),
)
BOUNDS = {"stall": Bound(50, 10), "api": Bound(1.5, 0.5), "worker": Bound(0.5, 0.1)}
NOTE = (
    "The memory is what the process had at most above what it had after a small mail, over the attachment's size. The"
    " stall is the longest answer of /health/live meanwhile, which another process asks for without a pause."
)
Request = tuple[str, dict[str, str], bytes]


async def measure(bench: Bench) -> Table:
    """The table."""
    cases = [
        Case(f"{door}, {name}", partial(_apart, bench, kind, request), BOUNDS, ours=True)
        for kind, name in (("sqlite", "SQLite FULL"), ("postgres", "PostgreSQL"))
        for door, request in DOORS.items()
        if kind == "sqlite" or door == "REST JSON"
    ]
    cases.append(
        Case("REST JSON, SQLite FULL, one process", partial(_together, bench), {"stall": BOUNDS["stall"]}, ours=True)
    )
    rows = await rounds_of(bench, "attachment", cases)
    title = "One attachment of 25 MiB: the longest stall of the event loop"
    return Table("attachment", title, METRICS, "stall", rows, (NOTE,))


def _json(number: int, size: int) -> Request:
    attachment = {"name": "data.bin", "content": b64encode(os.urandom(size)).decode()}
    mail = {
        "to": _to(number),
        "from_email": SENDER,
        "subject": "Data",
        "body_text": "See.",
        "attachments": [attachment],
    }
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    return f"/api/v2/{SERVICE}", headers, orjson.dumps(mail)


def _multipart(number: int, size: int) -> Request:
    fields = {"to": _to(number), "from_email": SENDER, "subject": "Data", "body_text": "See."}
    request = httpx2.Request("POST", "http://bench", data=fields, files={"file": ("data.bin", os.urandom(size))})
    headers = {"Content-Type": request.headers["content-type"], "Prefer": "respond-async"}
    return f"/api/v2/{SERVICE}", headers, request.read()


def _graphql(number: int, size: int) -> Request:
    attachment = {"name": "data.bin", "content": b64encode(os.urandom(size)).decode()}
    mail = {"service": SERVICE, "to": [{"email": _to(number)}], "from": {"email": SENDER}, "subject": "Data"}
    variables = {"input": mail | {"text": "See.", "attachments": [attachment]}}
    body = orjson.dumps({"query": SEND_EMAIL, "variables": variables})
    return "/graphql", {"Content-Type": "application/json"}, body


def _to(number: int) -> str:
    return f"m{number:08d}@load.example"


DOORS: dict[str, Callable[[int, int], Request]] = {
    "REST JSON": _json,
    "REST multipart": _multipart,
    "GraphQL": _graphql,
}


async def _apart(bench: Bench, kind: str, make: Callable[[int, int], Request]) -> Sample:
    """First the API alone takes it, then a worker delivers it."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(bench.database(kind))
        receiver = await stack.enter_async_context(sink())
        given = Installed(url, bench.checkout)
        ours = await stack.enter_async_context(serving(given, sink_port=receiver.port, worker=False))
        await _post(ours, make(1, 1024))
        async with _asking(ours.url) as idle:
            await asyncio.sleep(IDLE_SECONDS)
        request = make(2, SIZE)
        before = _begin(ours.pid)
        async with _asking(ours.url) as times:
            await _post(ours, request)
        api = peak_bytes(ours.pid) - before
        await _post(ours, make(3, 1024))
        worker = await _delivered(ours, receiver, make)
    return {"stall": max(times), "api": api / SIZE, "worker": worker / SIZE, "idle": percentile(idle, 99)}


async def _delivered(ours: Ours, receiver: Sink, make: Callable[[int, int], Request]) -> float:
    """The peak of a worker that has first delivered what is there, one large mail, above that with small ones only."""
    worker = await working(ours.installed)
    pid = worker.running.pid
    await receiver.all_arrived(1, 3, WITHIN)
    after_large = peak_bytes(pid)
    await worker.kill()
    worker = await working(ours.installed)
    await _post(ours, make(4, 1024))
    await receiver.all_arrived(1, 4, WITHIN)
    small = peak_bytes(worker.running.pid)
    await worker.kill()
    return max(0, after_large - small)


async def _together(bench: Bench) -> Sample:
    """API and worker in one process: the stall until it has arrived."""
    async with sink() as receiver, serving(Installed(None, bench.checkout), sink_port=receiver.port) as ours:
        await _post(ours, _json(1, 1024))
        await receiver.all_arrived(1, 1, WITHIN)
        request = _json(2, SIZE)
        before = _begin(ours.pid)
        async with _asking(ours.url) as times:
            await _post(ours, request)
            await receiver.all_arrived(1, 2, WITHIN)
        return {"stall": max(times), "api": (peak_bytes(ours.pid) - before) / SIZE}


def _begin(pid: int) -> int:
    before = resident_bytes(pid)
    forget_peak(pid)
    return before


async def _post(ours: Ours, request: Request) -> None:
    path, headers, body = request
    http = ours.server.doors.http
    answer = await http.post(path, headers=headers | {"X-API-Key": ours.api_key}, content=body, timeout=WITHIN)
    if answer.status_code not in (200, 202) or "errors" in (told := answer.json()) or _refused(told):
        raise Wrong(f"the attachment was refused: {answer.text[:500]}")


def _refused(told: dict[str, dict[str, dict[str, object]]]) -> bool:
    return bool(told.get("data") and told["data"]["done"]["userErrors"])


@asynccontextmanager
async def _asking(url: str) -> AsyncIterator[list[float]]:
    """Ask while the block runs; then the list has the milliseconds of each answer."""
    times: list[float] = []
    async with running(python("benchmarks.load.asking", url), LOAD_CORE) as asker:
        await asker.ask()
        yield times
        times += await asker.ask("enough")

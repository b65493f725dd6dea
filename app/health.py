"""Liveness and readiness."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.clock import now
from app.database.connection import execute, transaction
from app.database.migrate import pending_migrations
from app.errors import RETRY_AFTER_SECONDS
from app.queue.heartbeat import last_beat
from app.settings import Settings

Checks = Mapping[str, str]


def health_routes(settings: Settings) -> list[Route]:
    """`/health/live`: the process answers. `/health/ready`: it can take mail and a worker will deliver it."""
    readiness = Readiness(settings)

    async def live(request: Request) -> JSONResponse:
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> JSONResponse:
        checks = await readiness.ask()
        failing = [f"{name}: {text}" for name, text in checks.items() if text != "ok"]
        if not failing:
            return JSONResponse({"status": "ready", "checks": dict(checks)})
        body = {"status": "not ready", "reason": "; ".join(failing), "checks": dict(checks)}
        return JSONResponse(body, status_code=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    return [Route("/health/live", live), Route("/health/ready", ready)]


class Readiness:
    """Answers within `health_timeout` seconds, also when the database does not. However many ask, the database is
    asked by one of them at a time, and at most every `health_interval` seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asking: asyncio.Task[Checks] | None = None
        self._asked_at = 0.0

    async def ask(self) -> Checks:
        """What `check_readiness` says, or said just before."""
        time = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and time - self._asked_at >= self._settings.health_interval):
            self._asking = asyncio.create_task(check_readiness(now(), self._settings.worker_lost_after))
            self._asked_at = time
        asking = self._asking
        # Not cancelled when it takes longer: a driver may take its time to break off a statement as well.
        await asyncio.wait({asking}, timeout=self._settings.health_timeout)
        if asking.done():
            return asking.result()
        return {"database": f"it does not answer (for {time - self._asked_at + self._settings.health_timeout:.0f} s)"}


async def check_readiness(moment: datetime, lost_after: float) -> Checks:
    """Database, migrations and worker, each "ok" or a sentence that says why not, without any address or secret.

    Writes, because a database that only answers cannot take mail: its disk may be full, or another process hold it.
    """
    try:
        pending = await pending_migrations()
    except Exception as error:
        return {"database": f"it does not answer ({type(error).__name__})"}
    if pending:
        return {"database": "ok", "migrations": f"not applied: {', '.join(pending)}"}
    try:
        beat = await last_beat()
        await _write_and_undo()
    except Exception as error:
        return {"database": f"it cannot be written to ({type(error).__name__})"}
    return {"database": "ok", "migrations": "ok", "worker": _worker(beat, moment, lost_after)}


_ANY_WORKER = "SELECT id FROM worker ORDER BY id DESC LIMIT 1"


async def _write_and_undo() -> None:
    """There and back: SQLite writes nothing where nothing changes, and what is rolled back need not reach the disk."""
    async with transaction():
        for change in ("pid + 1", "pid - 1"):
            await execute(f"UPDATE worker SET pid = {change} WHERE id = ({_ANY_WORKER})")  # noqa: S608


def _worker(beat: datetime | None, moment: datetime, lost_after: float) -> str:
    if beat is None:
        return "none is running"
    if moment - beat > timedelta(seconds=lost_after):
        return f"none has given a sign of life since {beat.isoformat(timespec='seconds')}"
    return "ok"

"""Liveness and readiness."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.clock import now
from app.database.connection import rows
from app.database.migrate import pending_migrations
from app.queue.heartbeat import last_beat
from app.settings import Settings

RETRY_AFTER_SECONDS = "5"


def health_routes(settings: Settings) -> list[Route]:
    """`/health/live`: the process answers. `/health/ready`: it can take mail and a worker will deliver it."""

    async def live(request: Request) -> JSONResponse:
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> JSONResponse:
        checks = await check_readiness(now(), settings.worker_lost_after)
        failing = [f"{name}: {text}" for name, text in checks.items() if text != "ok"]
        if not failing:
            return JSONResponse({"status": "ready", "checks": dict(checks)})
        body = {"status": "not ready", "reason": "; ".join(failing), "checks": dict(checks)}
        return JSONResponse(body, status_code=503, headers={"Retry-After": RETRY_AFTER_SECONDS})

    return [Route("/health/live", live), Route("/health/ready", ready)]


async def check_readiness(moment: datetime, lost_after: float) -> Mapping[str, str]:
    """Database, migrations and worker, each "ok" or a sentence that says why not, without any address or secret."""
    try:
        await rows("SELECT 1 AS one")
        pending = await pending_migrations()
        beat = await last_beat() if not pending else None
    except Exception as error:
        return {"database": f"it does not answer ({type(error).__name__})"}
    if pending:
        return {"database": "ok", "migrations": f"not applied: {', '.join(pending)}"}
    return {"database": "ok", "migrations": "ok", "worker": _worker(beat, moment, lost_after)}


def _worker(beat: datetime | None, moment: datetime, lost_after: float) -> str:
    if beat is None:
        return "none is running"
    if moment - beat > timedelta(seconds=lost_after):
        return f"none has given a sign of life since {beat.isoformat(timespec='seconds')}"
    return "ok"

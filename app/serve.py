"""Serve the API until a signal says stop."""

import asyncio
import math
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from app.asgi import make_app
from app.database.configuration import is_sqlite
from app.database.connection import close_database, open_database
from app.database.migrate import migrate, require_migrated
from app.edge.protocol import bounded_protocol
from app.errors import CommandFailed, InvalidInput
from app.first_start import FirstStart, first_start
from app.garbage import spare_the_collector
from app.queue.forgive import forgive_outage
from app.services.environment import define_service
from app.services.models import ServiceKind
from app.services.sealed import checked_sealer
from app.settings import Settings, SettingsError
from app.signals import STOP_SIGNALS, end_by_force, end_well

_BACKLOG = 2048  # connections that may wait while the application starts, or is busy


def serve(settings: Settings, *, with_worker: bool) -> None:
    """Bring a SQLite database up to date, define the service that MAIL_* say, make what a first start needs, say so on
    standard output, and serve.

    Raises CommandFailed where it cannot listen, NotMigrated, SettingsError (also where the key of a stored secret is
    missing), and what the database raises.
    """
    sys.setswitchinterval(settings.thread_switch_interval)
    sockets = _listen(settings.host, settings.port)  # before a key is made that only a start that succeeds can show
    made = asyncio.run(_prepare(settings))
    print(_greeting(settings, sockets[0].getsockname()[1], made), flush=True)
    app = make_app(settings, with_worker=with_worker)
    config = uvicorn.Config(
        app,
        http=bounded_protocol(settings),
        timeout_keep_alive=settings.keep_alive_timeout,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        ws_max_size=settings.max_body_bytes,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout),
    )
    for number in STOP_SIGNALS:
        # uvicorn, once it has stopped gently, sends itself the signal it stopped for: by then that is a success.
        signal.signal(number, end_well)
    _Server(config, app.state.begin_stop, settings.stop_timeout).run(sockets)


def _listen(host: str, port: int) -> list[socket.socket]:
    """A socket on each address of the host; for port 0 the first one's free port. Raises CommandFailed."""
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            taken = sockets[0].getsockname()[1] if sockets else port
            sockets.append(socket.create_server((address[0], taken), family=family, backlog=_BACKLOG))
    except OSError as error:
        for listening in sockets:
            listening.close()
        reason = str(error.strerror).partition(" (")[0]
        raise CommandFailed(f"cannot listen on {host}:{port}: {reason}") from None
    return sockets


async def _prepare(settings: Settings) -> FirstStart | None:
    if is_sqlite(settings.database_url):
        await migrate(settings)
    await open_database(settings)
    try:
        await require_migrated()
        sealer = await checked_sealer(settings)
        await define_service(settings, sealer, forgive=forgive_outage)
        return await first_start(settings, sealer)
    except InvalidInput as refusal:
        raise SettingsError(f"HELIOGRAPH_ADMIN_API_KEY: {refusal}") from None
    finally:
        await close_database()


def _greeting(settings: Settings, port: int, made: FirstStart | None) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = settings.public_url or f"http://{host}:{port}"
    places = {"GraphiQL": "/graphql", "REST": "/docs", "inbox": "/inbox"}
    lines = [f"Heliograph serves {url}", *(f"  {name:8}  {url}{path}" for name, path in places.items())]
    if made is None and settings.admin_api_key is None:
        lines.append("  lost key  heliograph key create --name NAME")
    elif made and made.admin_key:
        sender = "" if made.has_sender else '"from_email": "me@example.com", '
        body = f'{{{sender}"to": "you@example.com", "subject": "Hello", "body_text": "It works."}}'
        sandbox = made.service_kind is ServiceKind.SANDBOX
        way = "it lands in the inbox, not on the internet" if sandbox else f"{made.service_name} is a real server"
        lines += [
            "",
            f"Your admin API key, shown this once:  {made.admin_key}",
            "",
            f"Send a first mail; {way}:",
            "",
            f"  curl {url}/api/v2/{made.service_name} -H 'X-API-Key: {made.admin_key}' \\",
            f"    -H 'Content-Type: application/json' -d '{body}'",
            "",
        ]
    return "\n".join(lines)


class _Server(uvicorn.Server):
    """Has requests that wait for a verdict answered before it waits for their answers; is asked to stop only once."""

    def __init__(self, config: uvicorn.Config, begin_stop: Callable[[], None], stop_timeout: float) -> None:
        super().__init__(config)
        self._begin_stop = begin_stop
        self._stop_timeout = stop_timeout

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        end_by_force(self._stop_timeout)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        spare_the_collector()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._begin_stop()
        await super().shutdown(sockets)

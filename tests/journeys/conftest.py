"""Journeys: the whole application, from either door to a real SMTP server.

`heliograph` is the program in a process of its own; `running` is the application inside the test's process, for
journeys in which the process is not the point.
"""

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

import httpx2
import pytest
import trustme
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.asgi import make_app
from app.first_start import first_start
from app.inbox.receiver import Receiver
from app.services.secret import sealer_from
from app.settings import Settings
from tests.journeys.doors import Doors
from tests.journeys.prefork import Prefork
from tests.journeys.program import ADMIN_KEY, PATIENCE, Heliograph

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[Doors]]
KeepPort = Callable[[], int]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition holds that another process, or a worker at its own pace, makes true."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await condition():  # noqa: ASYNC110 - no event reaches from there to here
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def running(settings: Settings) -> Running:
    """Run the application in this process, with changed settings, and knock at its doors as admin: on SQLite, and
    once more on PostgreSQL."""
    return partial(run_application, settings)


@pytest.fixture
def sqlite_running(sqlite_settings: Settings) -> Running:
    """The same, where the database does not matter."""
    return partial(run_application, sqlite_settings)


@asynccontextmanager
async def run_application(settings: Settings, **changes: object) -> AsyncIterator[Doors]:
    """The application on a migrated database, with a worker, while the block runs."""
    own = {"secret_keys": "thirty-two characters are enough for a test", "admin_api_key": ADMIN_KEY}
    quick = {
        "queue_poll": 0.05,
        "wait_poll": 0.05,
        "retry_jitter": 0.0,
        "circuit_probe_interval": 0.2,
        "circuit_auth_interval": 0.4,
    }
    changed = Settings(**settings.model_dump(exclude_defaults=True) | own | quick | changes)
    app = make_app(changed)
    async with app.router.lifespan_context(app):
        await first_start(changed, sealer_from(changed))
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as http:
            yield Doors(http, ADMIN_KEY)


@pytest.fixture(scope="session", autouse=True)
def prefork() -> Iterator[Prefork]:
    """Starts the program's processes for one worker of the test run."""
    Heliograph.prefork = started = Prefork()
    yield started
    Heliograph.prefork = None
    started.close()


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's processes are started as a shell starts them."""
    monkeypatch.setattr(Heliograph, "prefork", None)


@pytest.fixture
async def heliograph(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Heliograph]:
    """The program in a folder with a migrated database, which saves each start the migrations; quick to notice and to
    try again. Every process is killed at the end."""
    folder = tmp_path / "operator"
    folder.mkdir()
    shutil.copyfile(sqlite_template, folder / "heliograph.db")
    installed = Heliograph(folder).having(
        env_file="no.env",
        port=0,
        smtp_loopback=True,
        queue_poll=0.05,
        wait_poll=0.05,
        retry_schedule=0.2,
        retry_jitter=0,
        circuit_probe_interval=0.2,
    )
    yield installed
    await installed.close()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One mail that an SMTP server has taken."""

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes


class Peer(Protocol):
    """An SMTP server on loopback."""

    @property
    def port(self) -> int: ...
    @property
    def arrivals(self) -> list[Arrival]: ...


@pytest.fixture(params=["our receiver", "aiosmtpd"])
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    """An SMTP server that takes everything: ours, and one that shares no code with it."""
    if request.param == "aiosmtpd":
        handler = _Handler()
        factory = partial(SMTP, handler, enable_SMTPUTF8=True, loop=asyncio.get_running_loop())
        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        handler.port = server.sockets[0].getsockname()[1]
        yield handler
        server.close()
    else:
        async with Receiver(keep=True) as receiver:
            yield _Received(receiver)


@dataclass
class _Received:
    receiver: Receiver

    @property
    def port(self) -> int:
        return self.receiver.port

    @property
    def arrivals(self) -> list[Arrival]:
        return [Arrival(mail.reverse_path, mail.recipients, mail.content) for mail in self.receiver.mails]


@dataclass
class _Handler:
    port: int = 0
    arrivals: list[Arrival] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.original_content, bytes)
        recipients = tuple(str(recipient) for recipient in envelope.rcpt_tos)
        self.arrivals.append(Arrival(str(envelope.mail_from), recipients, envelope.original_content))
        return "250 2.0.0 taken"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Our SMTP server, which keeps what it gets; a test scripts it."""
    async with Receiver(keep=True) as started:
        yield started


@pytest.fixture
def keep_port() -> Iterator[KeepPort]:
    """Keep a free port on loopback, which nobody else gets until the test ends: a server may listen on it, stop, and
    come back, and while there is none, who connects is refused."""
    with ExitStack() as kept:

        def keep() -> int:
            bound = kept.enter_context(socket.socket())
            # It is bound and does not listen; with this option on both sides, a server may beside it.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", 0))
            port: int = bound.getsockname()[1]
            return port

        yield keep


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """The private authority that a service's server certificate is from."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, for HELIOGRAPH_TRUSTED_CA_FILE."""
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def certificate(ca: trustme.CA) -> ssl.SSLContext:
    """A good certificate."""
    return _context(ca.issue_cert("localhost", "127.0.0.1"))


@pytest.fixture(scope="session")
def bad_certificates(ca: trustme.CA) -> dict[str, ssl.SSLContext]:
    """What the detail must say is wrong, to a server context that has it."""
    expired = ca.issue_cert(
        "127.0.0.1", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2021, 1, 1, tzinfo=UTC)
    )
    return {
        "hostname mismatch": _context(ca.issue_cert("other.example")),
        "has expired": _context(expired),
        "self-signed or from an authority that is not trusted": _context(trustme.CA().issue_cert("127.0.0.1")),
    }


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context

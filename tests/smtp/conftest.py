"""Certificates of several kinds, made by one private authority, and servers described in one line."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from app.inbox.receiver import Receiver
from app.outbound.guard import LOOPBACK, Guard
from app.smtp.server import Credentials, Encryption, Server, Timeouts, TokenCredentials

MakeServer = Callable[..., Server]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]

PATIENT = Timeouts(connect=10, greeting=10, ehlo=10, tls=10, auth=10, mail=10, rcpt=10, data=10, content=10, dot=10)


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def no_limit_is_over_while_peers_speak(idle_clock: None) -> None:
    pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def certificate(ca: trustme.CA) -> ssl.SSLContext:
    return _context(ca.issue_cert("localhost", "127.0.0.1"))


@pytest.fixture(scope="session")
def bad_certificates(ca: trustme.CA) -> dict[str, ssl.SSLContext]:
    """What is wrong, to a server context that has it."""
    expired = ca.issue_cert(
        "127.0.0.1", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2021, 1, 1, tzinfo=UTC)
    )
    return {
        "hostname mismatch": _context(ca.issue_cert("other.example")),
        "expired": _context(expired),
        "not trusted": _context(trustme.CA().issue_cert("127.0.0.1")),
    }


@pytest.fixture
def server_for(ca_file: str) -> MakeServer:
    """Describe the server that a receiver, or anything with a `port`, is."""

    def describe(
        receiver: Receiver | int,
        encryption: Encryption = Encryption.NONE,
        *,
        host: str = "127.0.0.1",
        credentials: Credentials | TokenCredentials | None = None,
        timeouts: Timeouts = PATIENT,
        trusted: bool = True,
        clear_text_auth: bool = False,
    ) -> Server:
        return Server(
            host=host,
            port=receiver if isinstance(receiver, int) else receiver.port,
            encryption=encryption,
            client_name="client.example",
            credentials=credentials,
            timeouts=timeouts,
            trusted_ca_file=ca_file if trusted else None,
            clear_text_auth=clear_text_auth,
            guard=Guard(LOOPBACK),
        )

    return describe


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition holds that the peer, at its own pace, makes true."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the peer has no event for it
                await asyncio.sleep(0.005)

    return wait


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context

"""A form by POST, and its answer: to a permitted address, within bounds of time and size."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from app.outbound.guard import LOOPBACK, Guard
from app.outbound.resolve import AddressRefused, Resolve, resolve_host
from app.outbound.smtp import smtp_guard
from app.settings import Settings

if TYPE_CHECKING:  # else imported where a form is sent, so that starting stays quick
    from httpcore2 import AsyncConnectionPool, Response

_HEADER: Mapping[bytes | str, bytes | str] = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/x-www-form-urlencoded",
    "User-Agent": "Heliograph",
}


class Unanswered(Exception):
    """There is no answer to be had now; the text is the end of a sentence, and shows nothing of the form."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes

    @property
    def is_temporary(self) -> bool:
        """The server says that it is for now only."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR or self.status == HTTPStatus.TOO_MANY_REQUESTS


def form_guard(settings: Settings) -> Guard:
    """Where forms may go: as SMTP, but to private addresses only where HELIOGRAPH_SMTP_NETWORKS names them."""
    smtp = smtp_guard(settings)
    loopback = () if set(LOOPBACK) <= set(smtp.refused) else LOOPBACK
    return Guard(allowed=(*settings.smtp_networks, *loopback), refused=smtp.refused)


async def post_form(
    url: str,
    fields: Mapping[str, str],
    settings: Settings,
    *,
    seconds: float,
    most_bytes: int,
    resolve: Resolve = resolve_host,
) -> Answer:
    """What `url`, which is well-formed, answers to the form within `seconds`. No redirect is followed, and no proxy or
    cookie is used. Raises Unanswered."""
    try:
        async with asyncio.timeout(seconds):
            async with await asyncio.to_thread(_make_pool, settings, resolve) as pool:
                return await _post(pool, url, fields, most_bytes)
    except TimeoutError:
        raise Unanswered(f"takes longer than {seconds:g} seconds to answer") from None


def _make_pool(settings: Settings, resolve: Resolve) -> "AsyncConnectionPool":
    """To be called in a thread: imports, and reads certificates."""
    import httpcore2

    from app.outbound.backend import GuardedBackend

    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.trusted_ca_file:
        context.load_verify_locations(cafile=settings.trusted_ca_file)
    backend = GuardedBackend(form_guard(settings), resolve)
    return httpcore2.AsyncConnectionPool(ssl_context=context, network_backend=backend)


async def _post(pool: "AsyncConnectionPool", url: str, fields: Mapping[str, str], most_bytes: int) -> Answer:
    content = urlencode(fields).encode()
    header = {**_HEADER, "Content-Length": str(len(content))}
    body = b""
    async with _answer(pool, url, header, content) as response:
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > most_bytes:
                raise Unanswered(f"answers with more than {most_bytes} bytes")
        return Answer(response.status, body)


@asynccontextmanager
async def _answer(
    pool: "AsyncConnectionPool", url: str, header: Mapping[bytes | str, bytes | str], content: bytes
) -> AsyncIterator["Response"]:
    with _told_plainly():
        async with pool.stream("POST", url, headers=header, content=content) as response:
            yield response


@contextmanager
def _told_plainly() -> Iterator[None]:
    import httpcore2

    try:
        yield
    except AddressRefused:
        raise Unanswered("has an address that this server does not connect to") from None
    except socket.gaierror:
        raise Unanswered("was not found") from None
    except (httpcore2.ConnectError, httpcore2.TimeoutException) as error:
        if isinstance(error.__context__, ssl.SSLError):
            raise Unanswered("has no certificate that is trusted, or TLS failed") from None
        raise Unanswered("takes no connection") from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError):
        raise Unanswered("breaks off, or does not speak HTTP") from None

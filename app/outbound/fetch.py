"""A file by URL: GET, from hosts that are listed and addresses that are permitted, within bounds of time and size."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.errors import InvalidInput, TooLarge
from app.mail.draft import Attachment
from app.outbound.guard import Guard
from app.outbound.resolve import AddressRefused, Resolve, resolve_host
from app.outbound.response import file_name, media_type, read_header
from app.outbound.url import check_url, host_of, port_of, shown_url
from app.settings import Settings
from app.spool import Spool

if TYPE_CHECKING:  # else imported where a file is fetched, so that starting stays quick
    from httpcore2 import AsyncConnectionPool, Response
    from httpx2 import URL

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REQUEST_HEADER: Mapping[bytes | str, bytes | str] = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "User-Agent": "Heliograph",
}


class Fetcher:
    """Fetches for the mails of one process. No proxy, cookie or password of the environment is used."""

    def __init__(self, settings: Settings, resolve: Resolve = resolve_host) -> None:
        self._settings = settings
        self._guard = Guard(settings.attachment_networks)
        self._resolve = resolve

    def check(self, url: str) -> None:
        """Raises InvalidInput for a URL that would not be fetched whatever its server says."""
        check_url(url, self._settings.attachment_hosts)

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Session"]:
        """For the files of one mail, side by side on a few connections."""
        async with await asyncio.to_thread(self._make_pool) as pool:
            yield Session(self._settings, pool)

    def _make_pool(self) -> "AsyncConnectionPool":
        """To be called in a thread: imports, and reads certificates."""
        import httpcore2

        from app.outbound.backend import GuardedBackend

        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._settings.trusted_ca_file:
            context.load_verify_locations(cafile=self._settings.trusted_ca_file)
        backend = GuardedBackend(self._guard, self._resolve)
        return httpcore2.AsyncConnectionPool(ssl_context=context, network_backend=backend)


class Session:
    """The files of one mail."""

    def __init__(self, settings: Settings, pool: "AsyncConnectionPool") -> None:
        self._settings = settings
        self._pool = pool
        self._octets = 0

    async def fetch(self, text: str) -> Attachment:
        """The file at a URL. Raises InvalidInput, which says what happened and shows of the URL no more than scheme,
        host and path, and of its server no address; TooLarge, Unavailable."""
        url = check_url(text, self._settings.attachment_hosts)
        seconds = self._settings.attachment_fetch_timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(url)
        except TimeoutError:
            unfit = _Unfit(f"it took longer than {seconds:g} seconds", retryable=True)
        except _Unfit as error:
            unfit = error
        raise InvalidInput(f"The file {shown_url(url)} cannot be had: {unfit}.", retryable=unfit.retryable)

    async def _follow(self, url: "URL") -> Attachment:
        for _ in range(self._settings.attachment_max_redirects + 1):
            async with self._answer(url) as answer:
                header = read_header(answer.headers)
                if answer.status not in _REDIRECTS:
                    return await self._file(url, answer, header)
                url = self._redirected(url, header)
        raise _Unfit(f"it redirects more than {self._settings.attachment_max_redirects} times")

    @asynccontextmanager
    async def _answer(self, url: "URL") -> AsyncIterator["Response"]:
        import httpcore2

        host, port = host_of(url).encode("ascii"), port_of(url)
        target = httpcore2.URL(scheme=url.raw_scheme, host=host, port=port, target=url.raw_path)
        with _told_plainly():
            async with self._pool.stream("GET", target, headers=_REQUEST_HEADER) as answer:
                yield answer

    def _redirected(self, url: "URL", header: Mapping[str, str]) -> "URL":
        import httpx2

        try:
            target = check_url(str(url.join(header.get("location", ""))), self._settings.attachment_hosts)
        except (httpx2.InvalidURL, ValueError):
            raise _Unfit("it redirects to what is no URL") from None
        except InvalidInput:
            raise _Unfit("it redirects to where this server fetches no files from") from None
        if url.scheme == "https" and target.scheme == "http":
            raise _Unfit("it redirects from https to http")
        return target

    async def _file(self, url: "URL", answer: "Response", header: Mapping[str, str]) -> Attachment:
        if answer.status != HTTPStatus.OK:
            again = answer.status >= 500 or answer.status == HTTPStatus.TOO_MANY_REQUESTS
            raise _Unfit(f"its server answered with status {answer.status}", retryable=again)
        if header.get("content-encoding", "identity").strip().lower() != "identity":
            raise _Unfit("its server sent it compressed, without being asked to")
        spool = Spool(self._settings.spool_over, self._settings.spool_folder)
        async for chunk in self._chunks(url, answer, header.get("content-length", "")):
            spool.write(chunk)
        name = file_name(header, url.path, self._settings.max_name_chars)
        return Attachment(name, spool.finish(), media_type(header, self._settings.max_name_chars))

    async def _chunks(self, url: "URL", answer: "Response", announced: str) -> AsyncIterator[bytes]:
        most = self._settings.max_attachment_bytes
        size = int(announced[:20]) if announced.isdecimal() else 0
        if size <= most:
            size = 0
            async for chunk in answer.aiter_stream():
                size += len(chunk)
                if size > most:
                    break
                self._make_room(len(chunk))
                yield chunk
        if size > most:
            raise TooLarge(f"The file {shown_url(url)} is larger than the limit of {most} bytes.")

    def _make_room(self, octets: int) -> None:
        self._octets += octets
        if self._octets > self._settings.max_message_bytes:
            raise TooLarge(
                "The files at the URLs are together larger than the limit"
                f" of {self._settings.max_message_bytes} bytes for a mail."
            )


class _Unfit(Exception):
    """What is wrong, as the end of a sentence."""

    def __init__(self, text: str, *, retryable: bool = False) -> None:
        super().__init__(text)
        self.retryable = retryable


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Turn what the network may raise into _Unfit."""
    import httpcore2

    try:
        yield
    except AddressRefused:
        raise _Unfit("its host has an address that this server does not connect to") from None
    except socket.gaierror:
        raise _Unfit("its host was not found", retryable=True) from None
    except (httpcore2.ConnectError, httpcore2.TimeoutException) as error:
        if isinstance(error.__context__, ssl.SSLError):
            raise _Unfit("TLS failed, or its server's certificate is not trusted") from None
        raise _Unfit("its server takes no connection", retryable=True) from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError):
        raise _Unfit("its server broke off, or does not speak HTTP", retryable=True) from None

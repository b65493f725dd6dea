"""httpcore2's way to the network, held to a guard."""

from collections.abc import Iterable

import httpcore2

from app.outbound.guard import Guard
from app.outbound.resolve import Resolve, permitted_addresses


class GuardedBackend(httpcore2.AnyIOBackend):
    """Connects to the permitted addresses of a host only. TLS still verifies the host's name."""

    def __init__(self, guard: Guard, resolve: Resolve) -> None:
        self._guard = guard
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first permitted address that takes one. Raises AddressRefused, socket.gaierror,
        httpcore2.ConnectError, httpcore2.ConnectTimeout."""
        refused: Exception = httpcore2.ConnectError()
        for address in await permitted_addresses(host, self._guard, self._resolve):
            try:
                return await super().connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                refused = error
        raise refused

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Never."""
        raise httpcore2.UnsupportedProtocol("no Unix sockets")

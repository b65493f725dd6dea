"""From a host to the addresses that may be connected to: each is checked once, and is what is connected to then."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from app.outbound.guard import Address, Guard

Resolve = Callable[[str], Awaitable[Sequence[Address]]]


class AddressRefused(Exception):
    """The host has no address that may be connected to."""


class PortRefused(Exception):
    """The host has an address that may be connected to, but not at this port."""


async def resolve_host(host: str) -> Sequence[Address]:
    """The addresses of a host name, or of an address in any spelling (`127.1`, `0x7f000001`), best first.

    Raises socket.gaierror.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror("not a host name") from error
    return [ip_address(address[0]) for *_, address in found]


async def permitted_addresses(
    host: str, guard: Guard, resolve: Resolve = resolve_host, port: int | None = None
) -> Sequence[Address]:
    """Those of the host's addresses that the guard permits, at this port if one is given, in their order, at least one.
    Connect to these: a second look-up may say something else. Raises AddressRefused, PortRefused, and what `resolve`
    does."""
    return among_permitted(await resolve(host), guard, port)


def among_permitted(found: Sequence[Address], guard: Guard, port: int | None = None) -> Sequence[Address]:
    """Those of the addresses that the guard permits, likewise. Raises AddressRefused, PortRefused."""
    permitted = [address for address in found if guard.permits(address)]
    if not permitted:
        raise AddressRefused
    if port is not None:
        permitted = [address for address in permitted if guard.permits_port(address, port)]
    if not permitted:
        raise PortRefused
    return permitted

"""TCP to the addresses of a server that its guard permits."""

import asyncio
import socket

from app.outbound.guard import Address
from app.outbound.resolve import Resolve, permitted_addresses
from app.smtp.server import Server


async def reach(server: Server, resolve: Resolve) -> socket.socket:
    """The first of the host's permitted addresses that accepts, in the order of the resolver. Raises OSError,
    AddressRefused, PortRefused."""
    refusal: OSError = socket.gaierror("no address")
    for address in await permitted_addresses(server.host, server.guard, resolve, server.port):
        try:
            return await connect_to(address, server.port)
        except OSError as error:
            refusal = error
    raise refusal


async def connect_to(address: Address, port: int) -> socket.socket:
    """A socket that is connected to an address which the guard permits. Raises OSError."""
    candidate = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    candidate.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(candidate, (str(address), port))
    except BaseException:
        candidate.close()
        raise
    return candidate

"""A DNS server on loopback, by UDP and TCP, that answers from a table."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset

Record = tuple[str, str]
DnsZone = Mapping[Record, list[str] | dns.rcode.Rcode | None]
"""By name and type: values as zone files have them; a code to answer with; None: silence."""

_UDP_OCTETS = 1232


def answer(zone: DnsZone, octets: bytes, most: int) -> bytes | None:
    """The answer to one query, cut short where it has over `most` octets."""
    query = dns.message.from_wire(octets)
    question = query.question[0]
    name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
    found = zone.get((name, kind), [])
    if found is None:
        return None
    response = dns.message.make_response(query)
    if isinstance(found, dns.rcode.Rcode):
        response.set_rcode(found)
    elif found:
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
    elif name not in {known for known, _ in zone}:
        response.set_rcode(dns.rcode.NXDOMAIN)
    octets = response.to_wire()
    if len(octets) > most:
        response.answer.clear()
        response.flags |= dns.flags.TC
        octets = response.to_wire()
    return octets


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: DnsZone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (octets := answer(self._zone, data, _UDP_OCTETS)) is not None:
            self._transport.sendto(octets, addr)


@asynccontextmanager
async def dns_server(zone: DnsZone) -> AsyncIterator[int]:
    """The port, at 127.0.0.1, while the block runs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        octets = answer(zone, await reader.readexactly(length), 65535) or b""
        writer.write(len(octets).to_bytes(2, "big") + octets)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(zone), local_addr=("127.0.0.1", port))
    try:
        yield port
    finally:
        transport.close()
        server.close()
        await server.wait_closed()

"""Which client a rate per client address counts for, without the address itself: a keyed hash of it. Pure."""

import hashlib
import hmac
from ipaddress import IPv6Address, IPv6Network, ip_address
from uuid import UUID


def client_subject(secret: bytes, api_key_id: UUID, address: str | None, ipv6_prefix: int) -> UUID:
    """The subject of the limits that this API key has for this client.

    Of an IPv6 address only the first `ipv6_prefix` bits count: who has one has all that share them. An IPv4 address in
    IPv6 is the IPv4 address. All clients without an address are one. Addresses are too few for a hash without a
    secret: whoever reads the table would try them all.
    """
    told = f"{api_key_id.hex} {_counted(address, ipv6_prefix)}"
    return UUID(bytes=hmac.digest(secret, told.encode(), hashlib.sha256)[:16])


def _counted(address: str | None, ipv6_prefix: int) -> str:
    try:
        given = ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if not isinstance(given, IPv6Address):
        return str(given)
    return str(given.ipv4_mapped or IPv6Network((int(given), ipv6_prefix), strict=False))

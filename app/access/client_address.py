"""Which client a rate per client address counts for, without the address itself: a keyed hash of it. Pure."""

import hashlib
import hmac
from ipaddress import IPv6Address, IPv6Network
from uuid import UUID

from app.access.networks import address_of


def client_subject(secret: bytes, api_key_id: UUID, address: str | None, ipv6_prefix: int) -> UUID:
    """The subject of the limits that this API key has for this client.

    Of an IPv6 address only the first `ipv6_prefix` bits count: who has one has all that share them. An IPv4 address in
    IPv6 is the IPv4 address. All clients without an address are one. Addresses are too few for a hash without a
    secret: whoever reads the table would try them all.
    """
    told = f"{api_key_id.hex} {_counted(address, ipv6_prefix)}"
    return UUID(bytes=hmac.digest(secret, told.encode(), hashlib.sha256)[:16])


def _counted(address: str | None, ipv6_prefix: int) -> str:
    given = address_of(address or "")
    if isinstance(given, IPv6Address):
        return str(IPv6Network((int(given), ipv6_prefix), strict=False))
    return str(given or "unknown")

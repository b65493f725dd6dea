"""PURE: the networks an API key may be used from. An IPv4 address, or network, in IPv6 (::ffff:…) is the IPv4 one."""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SHAPE = re.compile(r"[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?")
_MAPPED_BITS = 96
_NOWHERE = ("0.0.0.0/32",)


def canonical(text: str) -> str:
    """The network in its one spelling, a single address without its length.

    Raises ValueError, whose sentence says what is wrong, for what is neither, and where bits behind the length are set.
    """
    network = _unmapped(_parsed(text.strip()))
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def is_within(address: str | None, networks: Collection[str]) -> bool:
    """Whether the address is in one of the networks, or there are none; one that is unknown, or none, is in no network.
    The networks are canonical. Takes about as long without networks as with one."""
    return _is_inside(address or "", tuple(networks) or _NOWHERE) or not networks


@lru_cache(maxsize=4096)
def _is_inside(address: str, networks: tuple[str, ...]) -> bool:
    found = address_of(address)
    return found is not None and any(found in _network(network) for network in networks)


@lru_cache(maxsize=4096)
def address_of(text: str) -> Address | None:
    """The address, without a zone; None for what is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


_network = lru_cache(maxsize=4096)(ip_network)


def _parsed(text: str) -> Network:
    if not _SHAPE.fullmatch(text):
        raise ValueError("is no IPv4 or IPv6 address or network such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7")
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no address, or its length is no length of a network") from None
    raise ValueError(f"has bits set behind its length; the network is {meant}")


def _unmapped(network: Network) -> Network:
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))

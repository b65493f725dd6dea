"""PURE: whom a request is from, where proxies that are trusted say so."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import zip_longest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# One parameter of an element of Forwarded (RFC 7239 section 4), or what separates elements.
_PARAMETER = re.compile(r'\s*+(?:([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*))?\s*+([,;]|$)')


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a request's way, as a proxy told it: from which node, and over which scheme. As it was written."""

    node: str
    scheme: str = ""


def hops_of(forwarded_for: Sequence[str], forwarded_proto: Sequence[str]) -> list[Hop]:
    """The hops in X-Forwarded-For, nearest last, with the schemes in X-Forwarded-Proto: one each, or the last of those
    that there are for all."""
    nodes, schemes = _listed(forwarded_for), _listed(forwarded_proto)
    if len(schemes) != len(nodes):
        schemes = schemes[-1:] * len(nodes)
    return [Hop(node, scheme) for node, scheme in zip_longest(nodes, schemes, fillvalue="")]


def hops_in(forwarded: Sequence[str]) -> list[Hop]:
    """The hops in Forwarded (RFC 7239), nearest last; none where it cannot be read."""
    text, position = ",".join(forwarded), 0
    elements: list[dict[str, str]] = [{}]
    while text and position <= len(text):
        found = _PARAMETER.match(text, position)
        if found is None:
            return []
        name, value, end = found.groups()
        if name is not None:
            elements[-1][name.lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        if not end:
            break
        if end == ",":
            elements.append({})
        position = found.end()
    return [Hop(element.get("for", ""), element.get("proto", "")) for element in elements if element]


def origin(peer: Address, hops: Sequence[Hop], trusted: Iterable[Network]) -> tuple[Address, str | None]:
    """The address that the request is from, and its scheme, if known: going back from `peer`, the first that is no
    trusted proxy. A node that is no address ends the way at the proxy that named it."""
    networks = tuple(trusted)
    address, scheme = peer, None
    for hop in reversed(hops):
        if not is_trusted(address, networks):
            break
        earlier = node_address(hop.node)
        if earlier is None:
            break
        address = earlier
        scheme = hop.scheme.lower() if hop.scheme.lower() in ("http", "https") else scheme
    return address, scheme


def is_trusted(address: Address, trusted: Iterable[Network]) -> bool:
    """Whether it is the address of a proxy whose word counts."""
    return any(address in network for network in trusted)


def node_address(node: str) -> Address | None:
    """The address of a node: bare, in brackets, with a port or without (RFC 7239 section 6); None for what is none,
    such as `unknown`. An IPv4 address in IPv6 is the IPv4 address."""
    text = node.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _listed(fields: Sequence[str]) -> list[str]:
    return [part.strip() for part in ",".join(fields).split(",") if part.strip()]

"""PURE: which addresses may be connected to."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


LOOPBACK = _networks("127.0.0.0/8", "::1/128")
PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
THIS_HOST = _networks("0.0.0.0/8", "::/128")
LINK_LOCAL_AND_METADATA = _networks(
    "169.254.0.0/16",
    "fe80::/10",
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure
    "192.0.0.192/32",  # Oracle
    "fd00:ec2::254/128",  # Amazon
)

_NOT_PUBLIC = _networks(
    "0.0.0.0/8",  # this host
    "10.0.0.0/8",
    "100.64.0.0/10",  # shared, RFC 6598; metadata at Alibaba
    "127.0.0.0/8",
    "168.63.129.16/32",  # metadata at Azure
    "169.254.0.0/16",  # link-local; metadata nearly everywhere
    "172.16.0.0/12",
    "192.0.0.0/24",  # RFC 6890; metadata at Oracle
    "192.0.2.0/24",  # documentation, RFC 5737
    "192.88.99.0/24",  # 6to4 relays, RFC 7526
    "192.168.0.0/16",
    "198.18.0.0/15",  # benchmarks, RFC 2544
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
    "2001::/23",  # RFC 2928: Teredo, benchmarks, ORCHID
    "2001:db8::/32",  # documentation, RFC 3849
    "2002::/16",  # 6to4
    "3fff::/20",  # documentation, RFC 9637
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets through what is public, and the networks in `allowed`; of those none that is in `refused`. One kind of
    connection, one guard: what files are fetched from need not be what mail is sent to. `ports`: None for all."""

    allowed: tuple[Network, ...] = ()
    refused: tuple[Network, ...] = ()
    ports: tuple[int, ...] | None = None

    def permits(self, address: Address) -> bool:
        """Whether a connection may be made to this address. An IPv4 address in IPv6 is judged as what it leads to."""
        if is_among(self.refused, address):
            return False
        return _is_public(_led_to(address)) or is_among(self.allowed, address)

    def permits_port(self, address: Address, port: int) -> bool:
        """Whether this port of a permitted address may be connected to. Of loopback, where it is permitted, any."""
        return self.ports is None or port in self.ports or is_among(LOOPBACK, address)


PUBLIC = Guard()


def is_among(networks: tuple[Network, ...], address: Address) -> bool:
    """Whether the address, or the one that it leads to, is in one of the networks."""
    led_to = _led_to(address)
    return any(address in network or led_to in network for network in networks)


def _led_to(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _is_public(address: Address) -> bool:
    """Of IPv6, nothing outside 2000::/3: neither ::1 and ::, nor IPv4-compatible, local and multicast addresses."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(address in network for network in _NOT_PUBLIC)

"""Which addresses may be connected to: tables, and every embedding of an address that may not."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.guard import Address, Guard

REFUSED_V4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
REFUSED_V6 = ["::/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64", "2001:db8::/32", "2001::/32"]
REFUSED_V6 += ["2002::/16", "3fff::/20", "64:ff9b:1::/48", "5f00::/16", "2001:2::/48", "2001:10::/28", "2001:20::/28"]

v4_refused = st.sampled_from(REFUSED_V4).flatmap(lambda text: st.ip_addresses(network=text)).map(lambda a: int(a))
v6_refused = st.sampled_from(REFUSED_V6).flatmap(lambda text: st.ip_addresses(network=text))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "255.255.255.255",
        "0.0.0.0",
        "::",
        "::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
    ],
)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not Guard().permits(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "192.0.1.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_what_is_public_is_permitted(address: str) -> None:
    assert Guard().permits(ip_address(address))


@given(v4_refused)
def test_no_embedding_of_a_refused_ipv4_address_passes(value: int) -> None:
    prefixes = {"mapped": 0xFFFF << 32, "compatible": 0, "NAT64": 0x64FF9B << 96}
    embedded = [IPv6Address(prefix | value) for prefix in prefixes.values()]
    embedded += [IPv6Address(0x2002 << 112 | value << 80), IPv6Address(0x20010000 << 96 | value << 64)]
    embedded += [IPv6Address(0x20010000 << 96 | (value ^ 0xFFFFFFFF))]
    assert not any(Guard().permits(address) for address in embedded)
    assert not Guard().permits(IPv4Address(value))


@given(v6_refused)
def test_no_address_of_a_refused_ipv6_network_passes(address: IPv6Address) -> None:
    assert not Guard().permits(address)


@given(st.ip_addresses())
def test_only_what_python_calls_global_passes(address: Address) -> None:
    led_to = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if Guard().permits(address) and address not in ip_network("64:ff9b::/96"):
        assert (led_to or address).is_global


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00::1"])
def test_an_allowed_network_is_permitted_however_it_is_written(address: str) -> None:
    guard = Guard((ip_network("10.1.0.0/16"), ip_network("fd00::/64")))
    assert guard.permits(ip_address(address))
    assert not guard.permits(ip_address("10.2.0.1"))
    assert not guard.permits(ip_address("fd01::1"))

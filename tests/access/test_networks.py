"""Networks have one spelling, and an address is in them by its bits alone."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.networks import canonical, is_within

MAPPED = 0xFFFF << 32


@st.composite
def networks(draw: st.DrawFn) -> tuple[int, int, int]:
    """Version, first address as a number, length."""
    version = draw(st.sampled_from([4, 6]))
    bits = 32 if version == 4 else 128
    length = draw(st.integers(0, bits))
    number = draw(st.integers(0, 2**bits - 1))
    return version, number >> (bits - length) << (bits - length), length


def spelled(version: int, number: int) -> str:
    return str(IPv4Address(number) if version == 4 else IPv6Address(number))


def bits_match(network: tuple[int, int, int], version: int, number: int) -> bool:
    """The reference: the first bits of both are the same."""
    bits = 32 if version == 4 else 128
    return network[0] == version and (network[1] ^ number) >> (bits - network[2]) == 0


def is_mapped(version: int, number: int) -> bool:
    return version == 6 and number >> 32 == 0xFFFF


@given(networks(), st.sampled_from([4, 6]), st.data())
def test_an_address_is_in_a_network_when_their_first_bits_are_the_same(
    network: tuple[int, int, int], version: int, data: st.DataObject
) -> None:
    bits = 32 if version == 4 else 128
    near = network[1] ^ 1 << data.draw(st.integers(0, bits - 1)) if network[0] == version else 0
    number = data.draw(st.sampled_from([near, data.draw(st.integers(0, 2**bits - 1))]))
    if is_mapped(network[0], network[1]) or is_mapped(version, number):
        return
    stored = canonical(f"{spelled(*network[:2])}/{network[2]}")
    assert is_within(spelled(version, number), [stored]) is bits_match(network, version, number)


@given(networks())
def test_the_canonical_spelling_is_its_own_and_names_the_same_addresses(network: tuple[int, int, int]) -> None:
    text = f"{spelled(*network[:2])}/{network[2]}"
    stored = canonical(f" {text.upper()} ")
    assert canonical(stored) == stored
    assert is_mapped(*network[:2]) or ip_network(stored) == ip_network(text)
    assert ("/" in stored) is (network[2] < (32 if network[0] == 4 else 128)) or is_mapped(*network[:2])


@given(networks().filter(lambda network: network[0] == 4), st.integers(0, 2**32 - 1))
def test_ipv4_in_ipv6_is_ipv4_in_networks_and_in_addresses(network: tuple[int, int, int], number: int) -> None:
    _, first, length = network
    plain = canonical(f"{IPv4Address(first)}/{length}")
    assert canonical(f"{IPv6Address(MAPPED | first)}/{length + 96}") == plain
    assert is_within(str(IPv6Address(MAPPED | number)), [plain]) is is_within(str(IPv4Address(number)), [plain])


@given(st.ip_addresses())
def test_without_networks_every_address_will_do_and_with_them_none_that_is_unknown(
    address: IPv4Address | IPv6Address,
) -> None:
    assert is_within(str(address), [])
    assert is_within(str(address), [canonical(str(address))])
    assert is_within(None, [])
    assert not is_within(None, ["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize("node", ["", "unknown", "testclient", "192.0.2.7:80", "[::1]", "192.0.2"])
def test_what_is_no_address_is_in_no_network(node: str) -> None:
    assert not is_within(node, ["0.0.0.0/0", "::/0"])


def test_a_zone_does_not_count() -> None:
    assert is_within("fe80::1%eth0", ["fe80::/10"])
    assert ip_address("fe80::1%eth0") != ip_address("fe80::1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no IPv4 or IPv6 address"),
        ("example.com", "is no IPv4 or IPv6 address"),
        ("10.0.0.0/255.0.0.0", "is no IPv4 or IPv6 address"),
        ("fe80::1%eth0", "is no IPv4 or IPv6 address"),
        ("10.0.0.0/8 ", None),
        ("10.0.0.0/33", "no length"),
        ("10.0.0", "is no address"),
        ("010.0.0.1", "is no address"),
        ("167772160", "is no address"),
        ("10.1.2.3/8", "has bits set behind its length; the network is 10.0.0.0/8"),
        ("2001:db8::1/32", "the network is 2001:db8::/32"),
    ],
)
def test_what_is_no_network_is_refused_with_the_reason(text: str, reason: str | None) -> None:
    if reason is None:
        assert canonical(text) == text.strip()
        return
    with pytest.raises(ValueError, match=reason):
        canonical(text)

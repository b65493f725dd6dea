"""Every spelling of a host comes down to the address that is checked."""

import socket

import pytest

from app.outbound.guard import Guard
from app.outbound.resolve import AddressRefused, permitted_addresses
from tests.outbound.conftest import Names


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST",
        "::1",
        "::ffff:127.0.0.1",
        "0:0:0:0:0:ffff:7f00:1",
        "0",
        "0.0.0.0",
        "2852039166",
        "0xa9fea9fe",
    ],
)
async def test_no_spelling_of_a_refused_address_passes(host: str) -> None:
    with pytest.raises((AddressRefused, socket.gaierror)):
        await permitted_addresses(host, Guard())


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.1"])
async def test_the_spellings_are_really_read_as_addresses(host: str) -> None:
    from ipaddress import ip_network

    found = await permitted_addresses(host, Guard((ip_network("127.0.0.0/8"),)))
    assert [str(address) for address in found] == ["127.0.0.1"]


async def test_refused_addresses_are_left_out_and_the_others_keep_their_order() -> None:
    names = Names(mixed=[["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"]])
    found = await permitted_addresses("mixed", Guard(), names)
    assert [str(address) for address in found] == ["8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize("host", ["a" * 300, "no-such-name.invalid", "a..b"])
async def test_what_is_no_name_is_not_found(host: str) -> None:
    with pytest.raises(socket.gaierror):
        await permitted_addresses(host, Guard())

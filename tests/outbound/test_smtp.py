"""Where SMTP may connect to, by every setting, and what is said of a host and port that it may not."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.guard import Address, Guard
from app.outbound.smtp import refused_host, refused_port, smtp_guard
from app.settings import Settings

POSTGRES = "postgres://db.example/heliograph"
NEVER = ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "168.63.129.16", "192.0.0.192", "100.100.100.200"]
NEVER += ["fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "0.0.0.0", "::", "::ffff:0.0.0.0"]
LOOPBACK = ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
SPECIAL = ["100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "2002:a00:1::", "2001:0:a00:1::"]
PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"]


def guard(**settings: Any) -> Guard:
    return smtp_guard(Settings(**settings))


def permitted(addresses: list[str], **settings: Any) -> set[bool]:
    return {guard(**settings).permits(ip_address(address)) for address in addresses}


def test_by_default_private_addresses_are_permitted_and_special_ones_are_not() -> None:
    assert permitted(PUBLIC) == permitted(PRIVATE) == {True}
    assert permitted(SPECIAL) == permitted(NEVER) == {False}


@pytest.mark.parametrize(
    ("settings", "may"),
    [
        ({}, True),
        ({"database_url": POSTGRES}, False),
        ({"database_url": POSTGRES, "smtp_loopback": True}, True),
        ({"smtp_loopback": False}, False),
        ({"smtp_loopback": False, "smtp_networks": "127.0.0.0/8,::/0,0.0.0.0/0"}, False),
    ],
)
def test_loopback_is_permitted_by_its_own_setting_which_follows_the_database(
    settings: dict[str, Any], may: bool
) -> None:
    assert permitted(LOOPBACK, **settings) == {may}


def test_without_private_networks_only_those_that_are_named_are_permitted() -> None:
    settings = {"smtp_private_networks": False, "smtp_networks": "10.0.0.0/24, fd00::/64"}
    assert permitted(PRIVATE, smtp_private_networks=False) == {False}
    assert permitted(["10.0.0.9", "::ffff:10.0.0.9", "64:ff9b::a00:9", "fd00::9"], **settings) == {True}
    assert permitted(["10.0.1.9", "192.168.1.1", "fd01::9"], **settings) == {False}


def test_no_setting_permits_link_local_and_metadata() -> None:
    everything = {"smtp_networks": "0.0.0.0/0,::/0", "smtp_loopback": True}
    assert permitted(SPECIAL, **everything) == {True}
    assert permitted(NEVER, **everything) == {False}


@given(st.ip_addresses())
def test_what_files_are_fetched_from_mail_may_be_sent_to_unless_it_is_metadata(address: Address) -> None:
    if Guard().permits(address):
        assert guard().permits(address)


@given(st.sampled_from(["127.0.0.0/8", "169.254.0.0/16"]).flatmap(lambda text: st.ip_addresses(network=text)))
def test_no_embedding_of_a_refused_ipv4_address_passes(address: Address) -> None:
    strict = guard(smtp_loopback=False, smtp_networks="::/0")
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert not strict.permits(ip_address(prefix | int(address)))


@pytest.mark.parametrize(
    ("host", "setting"),
    [
        ("127.0.0.1", "HELIOGRAPH_SMTP_LOOPBACK"),
        ("localhost", "HELIOGRAPH_SMTP_LOOPBACK"),
        ("mail.localhost", "HELIOGRAPH_SMTP_LOOPBACK"),
        ("::ffff:7f00:1", "HELIOGRAPH_SMTP_LOOPBACK"),
        ("10.1.2.3", "HELIOGRAPH_SMTP_PRIVATE_NETWORKS"),
        ("fd00::1", "HELIOGRAPH_SMTP_PRIVATE_NETWORKS"),
        ("100.64.0.1", "HELIOGRAPH_SMTP_NETWORKS"),
        ("169.254.169.254", "metadata"),
        ("::", "no address of a server"),
    ],
)
def test_a_refused_address_is_told_with_the_setting_that_decides(host: str, setting: str) -> None:
    told = refused_host(host, guard(smtp_loopback=False, smtp_private_networks=False))
    assert told is not None
    assert setting in told


@pytest.mark.parametrize("host", ["8.8.8.8", "127.0.0.1", "10.1.2.3", "localhost", "relay.example", "10.1.2.3.example"])
def test_an_address_that_is_permitted_and_any_name_is_not_refused_before_it_is_looked_up(host: str) -> None:
    assert refused_host(host, guard()) is None


@pytest.mark.parametrize(
    ("host", "port", "refused"),
    [
        ("relay.example", 587, False),
        ("relay.example", 22, True),
        ("10.0.0.1", 2525, False),
        ("10.0.0.1", 5432, True),
        ("127.0.0.1", 1025, False),
        ("localhost", 1025, False),
        ("::1", 1025, False),
    ],
)
def test_ports_are_those_of_the_setting_and_on_loopback_any(host: str, port: int, refused: bool) -> None:
    told = refused_port(host, port, guard())
    assert (told is not None) is refused
    assert refused_port(host, port, guard(smtp_ports=f"{port}")) is None
    if told:
        assert "25, 465, 587, 2465, 2525, 2587" in told
        assert "HELIOGRAPH_SMTP_PORTS" in told


def test_networks_are_read_as_networks() -> None:
    settings = Settings.model_validate({"smtp_networks": "10.1.0.0/16, fd00::/8"})
    assert settings.smtp_networks == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))

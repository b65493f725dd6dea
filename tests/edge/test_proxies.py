"""Whom a request is from: only the word of trusted proxies counts, however long the way that is claimed."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.edge.proxies import Hop, hops_in, hops_of, node_address, origin

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
PEER = ip_address("10.0.0.1")

public = st.ip_addresses(v=4, network="8.0.0.0/8").map(str)
proxy = st.ip_addresses(v=4, network="10.0.0.0/8").map(str)
anything = st.one_of(public, proxy, st.text(max_size=20), st.just("unknown"))


def client_of(*nodes: str) -> str:
    return str(origin(PEER, hops_of([", ".join(nodes)], []), PROXIES)[0])


@given(claimed=st.lists(anything, max_size=5), client=public, proxies=st.lists(proxy, max_size=3))
def test_whatever_a_client_claims_it_is_the_one_that_the_outermost_trusted_proxy_saw(
    claimed: list[str], client: str, proxies: list[str]
) -> None:
    hops = [Hop(node) for node in (*claimed, client, *proxies)]
    assert str(origin(PEER, hops, PROXIES)[0]) == client


@given(claimed=st.lists(anything, max_size=5).map(", ".join))
def test_a_peer_that_is_not_trusted_is_the_client(claimed: str) -> None:
    peer = ip_address("9.9.9.9")
    assert origin(peer, hops_of([claimed], ["https"]), PROXIES) == (peer, None)


@pytest.mark.parametrize(
    ("nodes", "client"),
    [
        ((), "10.0.0.1"),
        (("8.8.8.8",), "8.8.8.8"),
        (("1.1.1.1", "8.8.8.8", "10.0.0.2"), "8.8.8.8"),
        (("10.0.0.3", "10.0.0.2"), "10.0.0.3"),
        (("8.8.8.8", "unknown"), "10.0.0.1"),
        (("8.8.8.8", "_hidden", "10.0.0.2"), "10.0.0.2"),
        (("8.8.8.8:1234",), "8.8.8.8"),
        (("[2606:4700::1]:443",), "2606:4700::1"),
        (("2606:4700::1",), "2606:4700::1"),
        (("8.8.8.8", "::ffff:10.0.0.2"), "8.8.8.8"),
        (("8.8.8.8", "fd00::1"), "8.8.8.8"),
    ],
)
def test_the_way_back_ends_at_the_first_that_is_no_trusted_proxy(nodes: tuple[str, ...], client: str) -> None:
    assert client_of(*nodes) == client


@pytest.mark.parametrize(
    ("nodes", "schemes", "told"),
    [
        (["8.8.8.8"], ["https"], "https"),
        (["8.8.8.8"], ["HTTPS"], "https"),
        (["8.8.8.8"], [], None),
        (["8.8.8.8"], ["gopher"], None),
        (["8.8.8.8, 10.0.0.2"], ["https"], "https"),
        (["8.8.8.8", "10.0.0.2"], ["https", "http"], "https"),
        (["1.1.1.1, 8.8.8.8"], ["https, http"], "http"),
        (["8.8.8.8, 10.0.0.2"], ["http, http, https"], "https"),
    ],
)
def test_the_scheme_is_what_the_outermost_trusted_proxy_was_asked_by(
    nodes: list[str], schemes: list[str], told: str | None
) -> None:
    assert origin(PEER, hops_of(nodes, schemes), PROXIES)[1] == told


@pytest.mark.parametrize(
    ("fields", "hops"),
    [
        (["for=192.0.2.60;proto=http;by=203.0.113.43"], [Hop("192.0.2.60", "http")]),
        (['For="[2001:db8:cafe::17]:4711"'], [Hop("[2001:db8:cafe::17]:4711")]),
        (["for=192.0.2.43, for=198.51.100.17"], [Hop("192.0.2.43"), Hop("198.51.100.17")]),
        (["for=192.0.2.43", "for=198.51.100.17;proto=https"], [Hop("192.0.2.43"), Hop("198.51.100.17", "https")]),
        (['for="_a,b\\"c"; proto=https'], [Hop('_a,b"c', "https")]),
        (["by=10.0.0.1"], [Hop("")]),
        ([], []),
        ([""], []),
        (['for="8.8.8.8'], []),
        (["for=8.8.8.8 for=9.9.9.9"], []),
        (["for=8.8.8.8" + " " * 60_000 + "x"], []),
        ([" " * 60_000 + "x"], []),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(fields: list[str], hops: list[Hop]) -> None:
    assert hops_in(fields) == hops


@given(st.lists(st.text(), max_size=4))
def test_no_text_breaks_the_reading(fields: list[str]) -> None:
    assert all(isinstance(hop, Hop) for hop in [*hops_in(fields), *hops_of(fields, fields)])


@pytest.mark.parametrize("node", ["", "unknown", "_x", "1.2.3", "0x7f000001", "[::1", "8.8.8.8:1:2", "a.example"])
def test_what_is_no_address_is_none_unless_only_its_bracket_is_open(node: str) -> None:
    assert node_address(node) == (ip_address("::1") if node == "[::1" else None)

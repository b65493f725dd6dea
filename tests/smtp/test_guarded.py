"""Only permitted addresses are connected to, and the one that was checked is the one that is used."""

import ssl
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest

from app.inbox.receiver import Receiver
from app.outbound.guard import Guard
from app.smtp.connection import connect
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.server import Encryption, Server
from tests.outbound.conftest import Names

MakeServer = Callable[..., Server]

# A network in which nobody answers, and nobody is asked.
ELSEWHERE = "192.0.2.1"


async def failure_of(server: Server, names: Names) -> Failure:
    with pytest.raises(SmtpFailure) as caught:
        await connect(server, names)
    return caught.value.failure


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.1", "127.1", "::ffff:7f00:1"])
async def test_no_spelling_of_a_refused_address_is_connected_to(host: str, server_for: MakeServer) -> None:
    async with Receiver(keep=True) as receiver:
        server = replace(server_for(receiver, host=host), guard=Guard())
        with pytest.raises(SmtpFailure) as caught:
            await connect(server)
        failure = caught.value.failure
        assert (failure.phase, failure.cause) == (Phase.CONNECT, Cause.NOT_PERMITTED)
        assert failure.message == f"Address not permitted: this server sends nothing to {host}."
        assert failure.of_service
        assert not failure.is_internal
        assert receiver.sessions == []


async def test_a_name_is_told_without_its_address(server_for: MakeServer) -> None:
    names = Names(inside=[["10.9.8.7", "fd00::7"]])
    failure = await failure_of(replace(server_for(25, host="inside"), guard=Guard()), names)
    assert failure.message == "Address not permitted: this server sends nothing to inside."


async def test_refused_addresses_are_passed_over_and_the_others_tried_in_order(server_for: MakeServer) -> None:
    names = Names(several=[[ELSEWHERE, "127.0.0.2", "127.0.0.1"]])
    async with Receiver(keep=True) as receiver:
        connection = await connect(server_for(receiver, host="several"), names)
        assert connection.client.get_transport_info("peername")[0] == "127.0.0.1"
        connection.close()


@pytest.mark.parametrize("encryption", list(Encryption))
async def test_the_address_that_was_checked_is_used_and_the_name_is_what_tls_verifies(
    encryption: Encryption, server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    names = Names(localhost=[["127.0.0.1"], [ELSEWHERE]])
    tls = None if encryption is Encryption.NONE else certificate
    async with Receiver(keep=True, tls=tls, implicit_tls=encryption is Encryption.SSL) as receiver:
        connection = await connect(server_for(receiver, encryption, host="localhost"), names)
        assert connection.usable
        assert names.asked == ["localhost"]
        connection.close()


async def test_a_name_that_changes_its_mind_is_refused_the_second_time(server_for: MakeServer) -> None:
    names = Names(rebinding=[["127.0.0.1"], [ELSEWHERE]])
    async with Receiver() as receiver:
        (await connect(server_for(receiver, host="rebinding"), names)).close()
        failure = await failure_of(server_for(receiver, host="rebinding"), names)
    assert failure.cause is Cause.NOT_PERMITTED


async def test_a_port_that_is_not_listed_is_not_connected_to(server_for: MakeServer) -> None:
    names = Names(relay=[[ELSEWHERE]])
    server = replace(server_for(22, host="relay"), guard=Guard((ip_network("192.0.2.0/24"),), ports=(25, 587)))
    failure = await failure_of(server, names)
    assert (failure.phase, failure.cause) == (Phase.CONNECT, Cause.NOT_PERMITTED)
    assert failure.message == "Address not permitted: this server sends nothing to port 22 of relay."

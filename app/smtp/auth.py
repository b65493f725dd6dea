"""PLAIN and LOGIN (RFC 4954, RFC 4616): one mechanism is tried, once."""

import ipaddress

from aiosmtplib import SMTP

from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.server import Credentials, Server


async def authenticate(client: SMTP, server: Server, credentials: Credentials) -> None:
    """Log in with the best mechanism offered, or raise before any octet of a credential is sent.

    A refused mechanism is not followed by the next one: each try counts towards the account's lock-out.
    Raises SmtpFailure, and what aiosmtplib raises for a refusal or a lost connection.
    """
    encrypted = client.get_transport_info("sslcontext") is not None
    if not encrypted and not may_send_in_clear(server, client.get_transport_info("peername")[0]):
        raise _not_tried("clear text would show the password to the network. Use encryption TLS or SSL")
    if "plain" in client.server_auth_methods:
        await client.auth_plain(credentials.username, credentials.password, timeout=None)
    elif "login" in client.server_auth_methods:
        await client.auth_login(credentials.username, credentials.password, timeout=None)
    elif client.server_auth_methods:
        raise _not_tried("the server offers neither PLAIN nor LOGIN")
    else:
        raise _not_tried("the server does not offer AUTH" + ("" if encrypted else " without encryption"))


def may_send_in_clear(server: Server, peer: str) -> bool:
    """Whether a password may go to the address `peer` without TLS: loopback only, unless the service says so."""
    if server.clear_text_auth:
        return True
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _not_tried(reason: str) -> SmtpFailure:
    return SmtpFailure(Failure(Phase.AUTH, Cause.AUTHENTICATION, f"Authentication failed: {reason}."))

"""PLAIN and LOGIN (RFC 4954, RFC 4616), XOAUTH2 for access tokens: one mechanism is tried, once.

XOAUTH2: https://developers.google.com/workspace/gmail/imap/xoauth2-protocol
"""

import base64
import ipaddress
import json
import re
from dataclasses import replace

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPResponse

from app.smtp.failure import Cause, Failure, Phase, SmtpFailure, failure_from
from app.smtp.server import Credentials, Server

_COMMAND_LINE = 512  # RFC 5321 section 4.5.3.1.4; RFC 4954 section 4 keeps AUTH to it
_CONTINUE = 334
_AUTHENTICATED = 235
_STATUS = re.compile(r"[0-9A-Za-z_.-]{1,20}")


async def authenticate(client: SMTP, server: Server, credentials: Credentials) -> None:
    """Log in with the best mechanism offered, or raise before any octet of a credential is sent.

    A refused mechanism is not followed by the next one: each try counts towards the account's lock-out.
    Raises SmtpFailure, and what aiosmtplib raises for a refusal or a lost connection.
    """
    encrypted = client.get_transport_info("sslcontext") is not None
    if not encrypted and not may_send_in_clear(server, client.get_transport_info("peername")[0]):
        raise _not_tried("clear text would show the password to the network. Use encryption TLS or SSL")
    if not client.server_auth_methods:
        raise _not_tried("the server does not offer AUTH" + ("" if encrypted else " without encryption"))
    if credentials.is_token:
        await _authenticate_by_token(client, server, credentials)
    elif "plain" in client.server_auth_methods:
        await client.auth_plain(credentials.username, credentials.password, timeout=None)
    elif "login" in client.server_auth_methods:
        await client.auth_login(credentials.username, credentials.password, timeout=None)
    else:
        raise _not_tried("the server offers neither PLAIN nor LOGIN")


def may_send_in_clear(server: Server, peer: str) -> bool:
    """Whether a password may go to the address `peer` without TLS: loopback only, unless the service says so."""
    if server.clear_text_auth:
        return True
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def _authenticate_by_token(client: SMTP, server: Server, credentials: Credentials) -> None:
    if "xoauth2" not in client.server_auth_methods:
        raise _not_tried("the server does not offer XOAUTH2, which an access token needs")
    status, response = None, await _say(client, credentials)
    if response.code == _CONTINUE:  # an error, told in JSON; an empty answer brings the reply
        status, response = _status(response.message), await client.execute_command(b"", timeout=None)
    if response.code != _AUTHENTICATED:
        failure = failure_from(SMTPAuthenticationError(response.code, response.message), Phase.AUTH, server)
        if status is not None:
            message = f"{failure.message.removesuffix('.')}: the access token was refused with status {status}."
            failure = replace(failure, message=message)
        raise SmtpFailure(failure)


async def _say(client: SMTP, credentials: Credentials) -> SMTPResponse:
    """Send user name and token: with the command where its line has room for them, else once the server asks."""
    told = f"user={credentials.username}\1auth=Bearer {credentials.password}\1\1"
    encoded = base64.b64encode(told.encode())
    if len(b"AUTH XOAUTH2 \r\n") + len(encoded) <= _COMMAND_LINE:
        return await client.execute_command(b"AUTH", b"XOAUTH2", encoded, timeout=None)
    response = await client.execute_command(b"AUTH", b"XOAUTH2", timeout=None)
    return await client.execute_command(encoded, timeout=None) if response.code == _CONTINUE else response


def _status(challenge: str) -> str | None:
    """The status in the JSON of a challenge, if there is a plain one."""
    try:
        told = json.loads(base64.b64decode(challenge))
    except (ValueError, RecursionError):
        return None
    status = str(told.get("status", "")) if isinstance(told, dict) else ""
    return status if _STATUS.fullmatch(status) else None


def _not_tried(reason: str) -> SmtpFailure:
    return SmtpFailure(Failure(Phase.AUTH, Cause.AUTHENTICATION, f"Authentication failed: {reason}."))

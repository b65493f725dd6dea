"""The certificate that a server shows: read, and told."""

import asyncio
import socket
import ssl
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from app.mail.characters import shown
from app.outbound.guard import Address
from app.smtp.connection import Connection
from app.smtp.reach import connect_to
from app.smtp.server import Server

_NAMES = 5
"""So many of its names are told."""


async def peek_certificate(server: Server, address: Address, *, implicit: bool) -> x509.Certificate | None:
    """The certificate that the server at `address` shows, whether it is trusted or not; None where none can be had.

    A connection of its own, on which nothing is said but EHLO and STARTTLS, and which is closed then.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection: Connection | None = None
    try:
        async with asyncio.timeout(server.timeouts.connect + server.timeouts.tls):
            connected = await connect_to(address, server.port)
            if implicit:
                return await _over_tls(connected, context, server)
            connection = Connection(server)
            await connection.open(connected)
            await connection.greet()
            await connection.ehlo()
            await connection.client.starttls(tls_context=context, server_hostname=server.host.rstrip("."), timeout=None)
            return shown_by(connection.client.get_transport_info("ssl_object"))
    except Exception:  # whatever it met: it only adds to what is known
        return None
    finally:
        if connection is not None:
            connection.close()


def shown_by(session: Any) -> x509.Certificate | None:
    """The certificate of the other side of a TLS session."""
    octets = session.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(octets) if octets else None


def days_left(certificate: x509.Certificate, moment: datetime) -> int:
    """Whole days until it ends; negative once it has."""
    return (certificate.not_valid_after_utc - moment).days


def told(certificate: x509.Certificate, moment: datetime) -> str:
    """For whom it is, of whom, and until when."""
    names = names_of(certificate)
    listed = ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
    ends, days = certificate.not_valid_after_utc, days_left(certificate, moment)
    when = f"{days} days left" if days >= 0 else f"{-days} days ago"
    return f"for {listed or 'no name'}; issued by {_issuer(certificate)}; ends {ends:%Y-%m-%d} ({when})"


def names_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that it is for (RFC 6125); where it lists none, its common name."""
    try:
        listed = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return [shown(str(name.value)) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    names = listed.get_values_for_type(x509.DNSName)
    return [*map(shown, names), *(str(address) for address in listed.get_values_for_type(x509.IPAddress))]


def _issuer(certificate: x509.Certificate) -> str:
    if certificate.issuer == certificate.subject:
        return "itself"
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for name in certificate.issuer.get_attributes_for_oid(kind):
            return shown(str(name.value))
    return shown(certificate.issuer.rfc4514_string())


async def _over_tls(connected: socket.socket, context: ssl.SSLContext, server: Server) -> x509.Certificate | None:
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=connected, ssl=context, server_hostname=server.host.rstrip(".")
        )
    except BaseException:
        connected.close()
        raise
    try:
        return shown_by(transport.get_extra_info("ssl_object"))
    finally:
        transport.abort()

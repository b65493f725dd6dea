"""Where SMTP may connect to, as the settings say: also to private addresses, which are where people's relays are."""

from ipaddress import ip_address

from app.database.configuration import is_sqlite
from app.outbound.guard import LINK_LOCAL_AND_METADATA, LOOPBACK, PRIVATE, THIS_HOST, Address, Guard, is_among
from app.settings import Settings


def smtp_guard(settings: Settings) -> Guard:
    """The guard of every SMTP connection to a service's server."""
    loopback = settings.smtp_loopback
    if loopback is None:
        loopback = is_sqlite(settings.database_url)
    allowed = [*settings.smtp_networks, *(PRIVATE if settings.smtp_private_networks else ())]
    return Guard(
        allowed=(*allowed, *(LOOPBACK if loopback else ())),
        refused=(*LINK_LOCAL_AND_METADATA, *THIS_HOST, *(() if loopback else LOOPBACK)),
        ports=settings.smtp_ports,
    )


def refused_host(host: str, guard: Guard) -> str | None:
    """Why the host is none to send to, as far as can be said without a look-up; None if nothing is wrong with it."""
    address = _known_address(host)
    if address is None or guard.permits(address):
        return None
    if is_among(LINK_LOCAL_AND_METADATA, address):
        return "This server never sends to link-local addresses, nor to those of cloud metadata."
    if is_among(THIS_HOST, address):
        return "This is no address of a server."
    if is_among(LOOPBACK, address):
        return "This server does not send to loopback addresses: HELIOGRAPH_SMTP_LOOPBACK is off."
    if is_among(PRIVATE, address):
        return "This server does not send to private addresses: HELIOGRAPH_SMTP_PRIVATE_NETWORKS is off."
    return "This server sends to addresses that are not public only where HELIOGRAPH_SMTP_NETWORKS names them."


def refused_port(host: str, port: int, guard: Guard) -> str | None:
    """Why this port of the host is none to send to, likewise."""
    address = _known_address(host)
    if guard.ports is None or port in guard.ports or (address is not None and guard.permits_port(address, port)):
        return None
    listed = ", ".join(map(str, guard.ports))
    return f"This server sends only to the ports {listed}, which HELIOGRAPH_SMTP_PORTS names."


def _known_address(host: str) -> Address | None:
    """The address that is written, or that a name has by definition (RFC 6761 section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return ip_address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        return None

"""The origin of a web page: scheme, host and port (RFC 6454), in the form in which browsers send it. Pure."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna
from starlette.datastructures import Headers

_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\*]+)(?::(\d{1,5}))?", re.IGNORECASE)
_HOST = re.compile(r"(?=.{1,253}$)(?:(?!-)[a-z0-9_-]{1,63}(?<!-)\.)*(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_origin(text: str) -> str | None:
    """The origin as browsers write it: in lower case, the host as A-labels, without its scheme's own port.

    None for what is no such origin: `*`, `null`, anything with a path; and for http, unless it is on this machine.
    """
    found = _ORIGIN.fullmatch(text)
    host = _host(found[2]) if found else None
    if found is None or host is None:
        return None
    scheme, port = found[1].lower(), int(found[3] or 0) or None
    if (found[3] and not 0 < int(found[3]) < 65536) or (scheme == "http" and not _is_loopback(host)):
        return None
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{host}:{port}"


def offered_origin(headers: Headers) -> str | None:
    """What the request says of its page's origin, all of it where it says several; None where it says nothing."""
    return ", ".join(headers.getlist("origin")) or None if "origin" in headers else None


def _host(text: str) -> str | None:
    try:
        if text.startswith("["):
            return f"[{IPv6Address(text[1:-1]).compressed}]"
        host = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
        if _NUMBER.fullmatch(host):  # browsers take what ends in a number for an IPv4 address, or for nothing
            return str(IPv4Address(host))
    except (AddressValueError, idna.IDNAError, UnicodeError):
        return None
    return host if _HOST.fullmatch(host) else None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return (IPv6Address(host[1:-1]) if host.startswith("[") else IPv4Address(host)).is_loopback
    except AddressValueError:
        return False

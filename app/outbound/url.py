"""Which URLs may be fetched, as far as can be said without asking anybody."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.errors import InvalidInput
from app.mail.characters import shown

if TYPE_CHECKING:
    from httpx2 import URL


def check_url(text: str, hosts: Iterable[str]) -> "URL":
    """The URL, if its host is one of `hosts`: names, or `*.example.com` for every name below example.com.

    Raises InvalidInput. No spelling of a host gets by: what is listed is what is resolved.
    """
    import httpx2

    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise InvalidInput("The URL of a file cannot be read.") from None
    if url.scheme not in ("http", "https") or not host_of(url) or not 0 < port_of(url) < 65536:
        raise InvalidInput("The URL of a file must begin with http:// or https:// and name a host.")
    if url.userinfo:
        raise InvalidInput("The URL of a file must not hold a user name or a password.")
    if not _is_listed(host_of(url), hosts):
        raise InvalidInput(
            f"This server fetches no files from the host '{shown(host_of(url))}':"
            " send each one as an object with 'name' and 'content' (base64)."
        )
    return url


def host_of(url: "URL") -> str:
    """In lower case, international names as A-labels (RFC 5890), without the dot that may end it."""
    return url.raw_host.decode("ascii").rstrip(".")


def port_of(url: "URL") -> int:
    """The port, also where the scheme implies it."""
    if url.port is not None:
        return url.port
    return 443 if url.scheme == "https" else 80


def shown_url(url: "URL") -> str:
    """For people: scheme, host and path. A query may hold a signature."""
    return shown(f"{url.scheme}://{host_of(url)}{url.path}")


def _is_listed(host: str, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        listed = pattern.lower().rstrip(".")
        if host.endswith(listed[1:]) if listed.startswith("*.") else host == listed:
            return True
    return False

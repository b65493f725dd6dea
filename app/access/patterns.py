"""Patterns that addresses match. Pure.

    ada@example.com     this address
    *@example.com       every address at this domain
    *@*.example.com     every address at a domain below this one, however deep; not at example.com itself
    ada@*.example.com   this local part at every domain below
    *                   every address

Addresses are compared as they go over the wire: domains as lower-case A-labels (RFC 5890), local parts exactly, because
only the receiving server knows what else is the same (RFC 5321 section 2.4). What denies is compared more loosely, so
that no other spelling of a local part gets round it: in any case, quoted or not, in any compatible characters.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address

from app.mail.address import check_email, mailbox_key

_EVERY = "*"
_BELOW = "*."
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_IPV6 = "[ipv6:"

_Key = tuple[str | None, bool, str]
"""Local part (None: any), whether domains below are meant, domain."""


def is_pattern(text: str) -> bool:
    """Whether the text is one of the forms above."""
    if text == _EVERY:
        return True
    local_part, at, domain = text.rpartition("@")
    if domain.startswith(_BELOW):
        domain = domain.removeprefix(_BELOW)
        if domain.startswith("["):
            return False
    return bool(at) and check_email(f"{local_part}@{domain}") is None


def pattern_key(pattern: str, *, loosely: bool = False) -> _Key:
    """Equal for two spellings of one pattern. `loosely`: as what denies is compared."""
    if pattern == _EVERY:
        return None, True, ""
    written, _, domain = pattern.rpartition("@")
    below = domain.startswith(_BELOW)
    local_part, domain = _compared(f"{written}@{domain.removeprefix(_BELOW)}", loosely)
    return (None if written == _EVERY else local_part), below, domain


class Patterns:
    """A set of patterns. `loosely`: they deny."""

    def __init__(self, patterns: Iterable[str], *, loosely: bool = False) -> None:
        self._loosely = loosely
        self._written = {pattern_key(pattern, loosely=loosely): pattern for pattern in patterns}

    def match(self, email: str) -> str | None:
        """The pattern, as it was written, that this address matches; the address has passed `check_email`."""
        if not self._written:
            return None
        local_part, domain = _compared(email, self._loosely)
        keys = _keys(local_part, domain)
        return next((self._written[key] for key in keys if key in self._written), None)


def _keys(local_part: str, domain: str) -> Iterator[_Key]:
    """Every key that the address matches, the closest first."""
    for local in (local_part, None):
        yield local, False, domain
        for parent in _parents(domain):
            yield local, True, parent


def _parents(domain: str) -> Iterator[str]:
    if domain.startswith("["):
        yield ""
        return
    while domain:
        domain = domain.partition(".")[2]
        yield domain


def _compared(email: str, loosely: bool) -> tuple[str, str]:
    local_part, _, domain = mailbox_key(email).rpartition("@")
    if domain.startswith(_IPV6):
        domain = f"{_IPV6}{IPv6Address(domain[len(_IPV6) : -1])}]"
    return (_loose(local_part) if loosely else local_part), domain


def _loose(local_part: str) -> str:
    if local_part.startswith('"'):
        local_part = _QUOTED_PAIR.sub(r"\1", local_part[1:-1])
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", local_part).casefold())

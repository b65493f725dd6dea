"""The SPF record: its terms (RFC 7208 section 4.6) and its macros (section 7). Pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from app.outbound.guard import Address

_TERM = re.compile(r"([-+~?]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?:(?::(.+?))?((?:/\d{1,2})?(?://\d{1,3})?))", re.I)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)")
_MACRO = re.compile(r"%(?:([%_-])|\{([slodiphcrtv])(\d{0,3})(r?)([-.+,/_=]*)\})", re.I)
_DOMAIN_SPEC = re.compile(r"(?:[!-$&-~]|%[%_-]|%\{[slodiphv]\d{0,3}r?[-.+,/_=]*\})+", re.I)
_NAMED = frozenset({"include", "exists"})
_ADDRESSES = frozenset({"ip4", "ip6"})
_LONGEST_NAME = 253


class SpfSyntaxError(ValueError):
    """The record is none; the message says which term."""


@dataclass(frozen=True, slots=True)
class Term:
    """One mechanism. `value`: what stands behind its colon; of ip4 and ip6 the network. `text`: all of it."""

    text: str
    qualifier: str
    name: str
    value: str | None
    prefix4: int = 32
    prefix6: int = 128


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """The mechanisms in their order, and where to go on if none matches; there is no redirect beside `all`."""

    mechanisms: tuple[Term, ...]
    redirect: str | None = None


def is_spf(text: str) -> bool:
    """Whether a TXT record is meant as SPF."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def parse_spf(text: str) -> SpfRecord:
    """The record. Raises SpfSyntaxError."""
    terms: list[Term] = []
    modifiers: dict[str, str] = {}
    for part in text.split(" ")[1:]:
        if modifier := _MODIFIER.fullmatch(part):
            name = modifier[1].lower()
            if name in modifiers and name in ("redirect", "exp"):
                raise SpfSyntaxError(f"{name}= stands there twice")
            if name == "redirect":
                _require_domain(modifier[2], part)
            modifiers[name] = modifier[2]
        elif part:
            terms.append(_term(part))
    has_all = any(term.name == "all" for term in terms)
    return SpfRecord(tuple(terms), None if has_all else modifiers.get("redirect"))


def _term(text: str) -> Term:
    found = _TERM.fullmatch(text)
    if found is None:
        raise SpfSyntaxError(f"{text!r} is no mechanism")
    qualifier, name, value, prefixes = found[1] or "+", found[2].lower(), found[3], found[4]
    if name in _ADDRESSES:
        return Term(text, qualifier, name, _network(name, f"{value}{prefixes}", text))
    if (name in _NAMED and value is None) or (name == "all" and (value or prefixes)):
        raise SpfSyntaxError(f"{text!r} is no mechanism")
    if prefixes and name not in ("a", "mx"):
        raise SpfSyntaxError(f"{text!r} may have no prefix length")
    if value is not None:
        _require_domain(value, text)
    four, _, six = prefixes.partition("//")
    prefix4, prefix6 = int(four[1:] or 32), int(six or 128)
    if prefix4 > 32 or prefix6 > 128:
        raise SpfSyntaxError(f"{text!r} has a prefix length that is too long")
    return Term(text, qualifier, name, value, prefix4, prefix6)


def _network(name: str, value: str, text: str) -> str:
    try:
        network = IPv4Network(value, strict=False) if name == "ip4" else IPv6Network(value, strict=False)
    except ValueError:
        raise SpfSyntaxError(f"{text!r} has no {name} network") from None
    return str(network)


def _require_domain(value: str, text: str) -> None:
    if not _DOMAIN_SPEC.fullmatch(value):
        raise SpfSyntaxError(f"{text!r} names no domain")


def expand(value: str, address: Address, sender: str, domain: str) -> str:
    """The domain that a term names, its macros filled in; too long a name loses labels from its left."""
    local_part, _, sender_domain = sender.rpartition("@")
    dotted = str(address) if address.version == 4 else ".".join(address.exploded.replace(":", ""))
    letters = {
        "s": sender,
        "l": local_part or "postmaster",
        "o": sender_domain,
        "d": domain,
        "i": dotted,
        "p": "unknown",
        "v": "in-addr" if address.version == 4 else "ip6",
        "h": sender_domain,
    }

    def filled(macro: re.Match[str]) -> str:
        if macro[1]:
            return {"%": "%", "_": " ", "-": "%20"}[macro[1]]
        parts = re.split(f"[{re.escape(macro[5] or '.')}]", letters.get(macro[2].lower(), ""))
        if macro[4]:
            parts.reverse()
        return ".".join(parts[-int(macro[3]) :] if macro[3] and int(macro[3]) else parts)

    name = _MACRO.sub(filled, value).rstrip(".")
    while len(name) > _LONGEST_NAME and "." in name:
        name = name.partition(".")[2]
    return name

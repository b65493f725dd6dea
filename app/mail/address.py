"""Mailbox and addr-spec: parse, format, refuse (RFC 5322 section 3.4)."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna
from msgspec import Struct

from app.errors import ErrorCode, Problem
from app.mail.characters import header_breaking, poses_as_encoded_word, shown

# RFC 5321 section 4.5.3.1, in octets: a path may have 256, and two of them are its angle brackets.
_MAX_LOCAL_PART = 64
_MAX_DOMAIN = 255
_MAX_ADDRESS = 254

_ATOM = r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]|[^\x00-\x7f])+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED_STRING = re.compile(r'"(?:[^\x00-\x1f"\\\x7f]|\\[^\x00-\x1f\x7f])*"')
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_WIRE_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LETTERS = "[A-Za-z0-9_+-]++"
_SHORT_LABEL = "[a-z0-9_]++(?:-++[a-z0-9_]++)*+"
_COMMON = re.compile(rf"{_LETTERS}(?:\.{_LETTERS})*+@{_SHORT_LABEL}(?:\.{_SHORT_LABEL})*+")
_COMMON_LENGTH = 64
"""Most addresses there are, which are told at one look: none of their parts is too long. All others are taken apart."""

_WHITE_SPACE = " \t"
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_PLAIN = re.compile(r'[^"(<,;]+')
_NOT_IN_LOCAL_PART = frozenset({"Cc", "Cs", "Zl", "Zp", "Zs"})


class Mailbox(Struct, frozen=True, forbid_unknown_fields=True):
    """An address and, where there is one, its display name. As given: not yet checked."""

    email: str
    name: str | None = None


class _Kind(Enum):
    PLAIN = auto()
    QUOTED = auto()
    COMMENT = auto()
    ANGLE = auto()
    SEPARATOR = auto()
    UNCLOSED = auto()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str


def parse_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """Split `text` at the commas and semicolons that are not inside quotes, comments or angle brackets.

    Takes `a@x`, `Name <a@x>`, `"Doe, Jane" <a@x>` and `a@x (Name)`. Empty places between separators are
    skipped. Nothing is checked and nothing repaired: what is none of these forms becomes the `email` as it
    was written, so that the check refuses it by that very text. Never raises.
    """
    if _PLAIN.fullmatch(text):
        alone = text.strip(_WHITE_SPACE)
        return (Mailbox(alone),) if alone else ()
    return tuple(mailbox for tokens in _places(text) if (mailbox := _mailbox(tokens)) is not None)


def _places(text: str) -> Iterator[list[_Token]]:
    place: list[_Token] = []
    for token in _tokens(text):
        if token.kind is _Kind.SEPARATOR:
            yield place
            place = []
        else:
            place.append(token)
    yield place


def _tokens(text: str) -> Iterator[_Token]:
    start = 0
    while start < len(text):
        token = _token(text, start)
        yield token
        start += len(token.text)


def _token(text: str, start: int) -> _Token:
    match text[start]:
        case "," | ";":
            return _Token(_Kind.SEPARATOR, text[start])
        case '"':
            kind, end = _Kind.QUOTED, _quoted_end(text, start)
        case "(":
            kind, end = _Kind.COMMENT, _comment_end(text, start)
        case "<":
            kind, end = _Kind.ANGLE, _angle_end(text, start)
        case _:
            plain = _PLAIN.match(text, start)
            assert plain is not None
            return _Token(_Kind.PLAIN, plain[0])
    return _Token(_Kind.UNCLOSED, text[start:]) if end is None else _Token(kind, text[start:end])


def _quoted_end(text: str, start: int) -> int | None:
    at = start + 1
    while at < len(text):
        if text[at] == '"':
            return at + 1
        at += 2 if text[at] == "\\" else 1
    return None


def _comment_end(text: str, start: int) -> int | None:
    depth, at = 0, start
    while at < len(text):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
        at += 2 if text[at] == "\\" else 1
    return None


def _angle_end(text: str, start: int) -> int | None:
    at: int | None = start + 1
    while at is not None and at < len(text):
        if text[at] == ">":
            return at + 1
        at = _quoted_end(text, at) if text[at] == '"' else at + 1
    return None


def _mailbox(tokens: list[_Token]) -> Mailbox | None:
    written = _text(tokens)
    if not written:
        return None
    core, comment = _without_comments(tokens)
    kinds = [token.kind for token in core]
    if _Kind.UNCLOSED in kinds or not core:
        return Mailbox(written)
    if _Kind.ANGLE not in kinds:
        return Mailbox(_text(core), comment)
    if kinds.index(_Kind.ANGLE) != len(core) - 1:
        return Mailbox(written)
    return Mailbox(core[-1].text[1:-1].strip(_WHITE_SPACE), _phrase(core[:-1]) or comment)


def _without_comments(tokens: list[_Token]) -> tuple[list[_Token], str | None]:
    """The tokens between leading and trailing comments, and the words of the last trailing comment."""
    core, comment = list(tokens), None
    while core and _is_comment_or_space(core[0]):
        core.pop(0)
    while core and _is_comment_or_space(core[-1]):
        token = core.pop()
        if token.kind is _Kind.COMMENT and comment is None:
            comment = _QUOTED_PAIR.sub(r"\1", token.text[1:-1]).strip(_WHITE_SPACE) or None
    return core, comment


def _is_comment_or_space(token: _Token) -> bool:
    return token.kind is _Kind.COMMENT or (token.kind is _Kind.PLAIN and not token.text.strip(_WHITE_SPACE))


def _phrase(tokens: list[_Token]) -> str:
    words = (_QUOTED_PAIR.sub(r"\1", t.text[1:-1]) if t.kind is _Kind.QUOTED else t.text for t in tokens)
    return "".join(words).strip(_WHITE_SPACE)


def _text(tokens: list[_Token]) -> str:
    return "".join(token.text for token in tokens).strip(_WHITE_SPACE)


def check_email(email: str) -> Problem | None:
    """INVALID_EMAIL unless `email` is an addr-spec that fits in an SMTP path (RFC 5321, RFC 6531).

    Quoted local parts, non-ASCII local parts, IDN domains, address literals and domains without a dot pass;
    comments, folding white space, encoded-words and obsolete forms do not.
    """
    if len(email) <= _COMMON_LENGTH and _COMMON.fullmatch(email):
        return None
    return _uncommon_problem(email) if len(email) <= _MAX_ADDRESS else _problem(email)


def _problem(email: str) -> Problem | None:
    local_part, at, domain = email.rpartition("@")
    if at and _is_local_part(local_part) and _is_domain(domain):
        wire = f"{local_part}@{_wire_domain(domain)}"
        if len(wire.encode()) <= _MAX_ADDRESS:
            return None
    return Problem(ErrorCode.INVALID_EMAIL, f"Invalid email - '{shown(email)}'.", ("email",))


_uncommon_problem = lru_cache(maxsize=4096)(_problem)


def _is_local_part(local_part: str) -> bool:
    if not (_DOT_ATOM.fullmatch(local_part) or _QUOTED_STRING.fullmatch(local_part)):
        return False
    # None may stand in an addr-spec (RFC 2047 section 5), yet there are servers and readers that decode it there.
    if poses_as_encoded_word(local_part):
        return False
    if any(unicodedata.category(char) in _NOT_IN_LOCAL_PART for char in local_part if char > "\x7f"):
        return False
    return len(local_part.encode()) <= _MAX_LOCAL_PART


def _is_domain(domain: str) -> bool:
    if domain.startswith("["):
        return _is_address_literal(domain)
    if len(domain) > _MAX_DOMAIN or not (domain.isascii() or _has_a_labels(domain)):
        return False
    wire = _wire_domain(domain)
    return len(wire) <= _MAX_DOMAIN and _WIRE_DOMAIN.fullmatch(wire) is not None


def _is_address_literal(domain: str) -> bool:
    if not domain.endswith("]") or "%" in domain:
        return False
    literal = domain[1:-1]
    try:
        if literal[:5].lower() == "ipv6:":
            IPv6Address(literal[5:])
        else:
            IPv4Address(literal)
    except AddressValueError:
        return False
    return True


def _has_a_labels(domain: str) -> bool:
    """Whether UTS 46 takes the domain without deleting a character of it, such as a zero width space."""
    try:
        return all(idna.uts46_remap(char) for char in domain) and bool(_wire_domain(domain))
    except UnicodeError:
        return False


def check_name(name: str | None) -> Problem | None:
    """INVALID_INPUT if a display name holds a character that cannot stand in a header field."""
    found = header_breaking(name or "")
    if found is None:
        return None
    return Problem(ErrorCode.INVALID_INPUT, f"A name must not contain control characters ({found}).", ("name",))


def wire_address(email: str) -> str:
    """The address as MAIL and RCPT carry it: the domain as lower-case A-labels (RFC 5890), the local part untouched.

    Only for an email that passed `check_email`; raises ValueError where the domain has no A-label form.
    """
    if email.isascii() and email.islower():
        return email
    local_part, _, domain = email.rpartition("@")
    return f"{local_part}@{_wire_domain(domain)}"


@lru_cache(maxsize=4096)
def _wire_domain(domain: str) -> str:
    if domain.startswith("["):
        return domain
    # idna refuses ASCII names that are in use, such as those with an underscore; they need no A-label.
    return domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")


def mailbox_key(email: str) -> str:
    """Equal for two spellings of one mailbox: the domain in any case or script, the local part exact."""
    address = wire_address(email)
    if address.islower():
        return address
    local_part, _, domain = address.rpartition("@")
    return f"{local_part}@{domain.lower()}"


def needs_smtputf8(email: str) -> bool:
    """Whether the local part is beyond ASCII, so that only a server with SMTPUTF8 (RFC 6531) can take it."""
    return not email.rpartition("@")[0].isascii()

"""Header fields, folded (RFC 5322 section 2.2), with text beyond ASCII in them (RFC 2047, RFC 2231).

Written here and not by the standard library, which turns long ASCII tokens such as List-Unsubscribe links into
encoded-words unless its lines may grow to 998, decodes encoded-words that a file name or a media type poses as,
and needs more than a second for some thousand addresses.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote

from app.mail.address import Mailbox, wire_address
from app.mail.characters import header_breaking, poses_as_encoded_word

_LINE = 78
_LONGEST_LINE = 998
_ENCODED_WORD_LENGTH = 75
_SHORTEST_ROOM = 32
_NAME_WORD_LENGTH = 980
_PARAMETER_LENGTH = 56
_TOKEN = re.compile(r" +[^ ]+")
_PLAIN_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_PLAIN_PARAMETER = re.compile(r"[ !#-\[\]-~]*")
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"
_Q_LITERALS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_ENCODED = {octet: f"={octet:02X}" for octet in range(256) if octet not in _Q_LITERALS} | {0x20: "_"}


def unstructured_field(name: str, value: str) -> str:
    """The field `name: value` with its CRLF. Text beyond ASCII, and nothing else that fits, becomes encoded-words.

    Folding only adds line breaks before spaces that are in the value, so that unfolding gives it back exactly.
    """
    line = f"{name}: {value}"
    # Most values are what they look like, and need no folding.
    if _fits(line) and value.isascii() and value and value[0] != " " and "=?" not in value:
        return f"{line}\r\n"
    tokens = _TOKEN.findall(f" {value}")
    if _must_be_encoded(value) or any(len(token) + len(name) >= _LONGEST_LINE for token in tokens):
        first = max(_SHORTEST_ROOM, _ENCODED_WORD_LENGTH - len(f"{name}:"))
        tokens = _encoded_words(value, first, _ENCODED_WORD_LENGTH)
    return _field(name, tokens)


def address_field(name: str, mailboxes: Sequence[Mailbox]) -> str:
    """An address-list field with its CRLF. Domains are A-labels; a local part beyond ASCII stays UTF-8 (RFC 6532)."""
    if len(mailboxes) == 1:
        return _mailbox_field(name, mailboxes[0].email, mailboxes[0].name)
    return _field(name, _list_tokens(mailboxes))


def author_field(name: str, mailbox: Mailbox) -> str:
    """As `address_field`, of one mailbox: those who write are the same again and again."""
    return _author_field(name, mailbox.email, mailbox.name)


def _mailbox_field(name: str, email: str, display_name: str | None) -> str:
    line = ""
    if not display_name:
        line = f"{name}: {wire_address(email)}"
    elif _PLAIN_PHRASE.fullmatch(display_name) and "=?" not in display_name:
        line = f"{name}: {display_name} <{wire_address(email)}>"
    if line and _fits(line):
        return f"{line}\r\n"
    return _field(name, _mailbox_tokens(Mailbox(email, display_name)))


_author_field = lru_cache(maxsize=1024)(_mailbox_field)


def _list_tokens(mailboxes: Sequence[Mailbox]) -> list[str]:
    tokens: list[str] = []
    for mailbox in mailboxes:
        if tokens:
            tokens[-1] += ","
        tokens += _mailbox_tokens(mailbox)
    return tokens


def structured_field(name: str, value: str, parameters: Mapping[str, str] | None = None) -> str:
    """The field `name: value; parameter="..."` with its CRLF; `value` is ASCII and never encoded.

    A parameter that is long, beyond ASCII or posing as an encoded-word is written as RFC 2231 has it.
    """
    line = f"{name}: {value}"
    if not parameters and _fits(line):
        return f"{line}\r\n"
    tokens = _TOKEN.findall(f" {value}")
    for attribute, text in (parameters or {}).items():
        for token in _parameter_tokens(attribute, text):
            tokens[-1] += ";"
            tokens.append(token)
    return _field(name, tokens)


def _fits(line: str) -> bool:
    """Whether the field is one line: folding would leave it as it is."""
    return len(line) <= _LINE and line.isprintable() and line[-1] != " "


def _mailbox_tokens(mailbox: Mailbox) -> list[str]:
    address = wire_address(mailbox.email)
    if not mailbox.name or mailbox.name.isspace():
        return [f" {address}"]
    return [*_phrase_tokens(mailbox.name), f" <{address}>"]


def _phrase_tokens(name: str) -> list[str]:
    if _must_be_encoded(name):
        # One word, over the 75 characters of RFC 2047 if it must be: Python's reader, unlike the RFC, puts a space
        # between two encoded-words of a display name, and would give the name back altered.
        return _encoded_words(name, _NAME_WORD_LENGTH, _NAME_WORD_LENGTH)
    if not _PLAIN_PHRASE.fullmatch(name):
        name = '"{}"'.format(name.replace("\\", r"\\").replace('"', r"\""))
    return _TOKEN.findall(f" {name}")


def _must_be_encoded(text: str) -> bool:
    """Text that a reader would not give back as it is: beyond ASCII, spaces at an end, or posing as an encoded-word."""
    return not text.isascii() or text != text.strip() or poses_as_encoded_word(text)


def _encoded_words(text: str, first: int, rest: int) -> list[str]:
    """`text` as RFC 2047 encoded-words of at most `first` and then `rest` characters, each with a space before it.

    Every word holds whole characters, in Q or B, whichever is shorter for the whole text.
    """
    size, size_of_b = len(_q_encoded(text)), 4 * -(-len(text.encode()) // 3)
    in_q = size <= size_of_b
    parts = [text] if len("=?utf-8?q??=") + min(size, size_of_b) <= first else _word_sized(text, in_q, first, rest)
    return [f" {_q_word(part) if in_q else _b_word(part)}" for part in parts]


def _word_sized(text: str, in_q: bool, first: int, rest: int) -> Iterator[str]:
    part, size, room = "", 0, first
    for char in text:
        more = _encoded_size(char, in_q)
        if part and len("=?utf-8?q??=") + (size + more if in_q else 4 * -(-(size + more) // 3)) > room:
            yield part
            part, size, room = "", 0, rest
        part += char
        size += more
    yield part


def _encoded_size(char: str, in_q: bool) -> int:
    return len(_q_encoded(char)) if in_q else len(char.encode())


def _q_word(text: str) -> str:
    return f"=?utf-8?q?{_q_encoded(text)}?="


def _q_encoded(text: str) -> str:
    return text.encode().decode("latin-1").translate(_Q_ENCODED)


def _b_word(text: str) -> str:
    return f"=?utf-8?b?{b64encode(text.encode()).decode('ascii')}?="


def _parameter_tokens(attribute: str, text: str) -> list[str]:
    plain = _PLAIN_PARAMETER.fullmatch(text) and not poses_as_encoded_word(text) and text == text.strip()
    if plain and len(text) <= _PARAMETER_LENGTH:
        return [f' {attribute}="{text}"']
    pieces = [""]
    for escaped in (quote(char, safe=_ATTRIBUTE_CHARACTERS) for char in text):
        if len(pieces[-1]) + len(escaped) > _PARAMETER_LENGTH:
            pieces.append("")
        pieces[-1] += escaped
    pieces[0] = f"utf-8''{pieces[0]}"
    if len(pieces) == 1:
        return [f" {attribute}*={pieces[0]}"]
    return [f" {attribute}*{number}*={piece}" for number, piece in enumerate(pieces)]


def _field(name: str, tokens: Iterable[str]) -> str:
    """Put tokens, each with the space before it, on lines of 78 where they can be broken.

    Raises ValueError for a control character: the last guard before the wire, after `check_draft`.
    """
    lines, line = [], f"{name}:"
    for token in tokens:
        if len(line) + len(token) > _LINE and line != f"{name}:":
            lines.append(line)
            line = ""
        line += token
    lines.append(line)
    if header_breaking("".join(lines)):
        raise ValueError(f"the {name} field holds a control character")
    return "\r\n".join((*lines, ""))

"""HTML as a stream of tags and text: every document, however broken, in one pass.

Written here and not with the standard library's html.parser, which takes time in the square of the length for text
such as `<a<a<a…` before Python 3.11.14: eighteen seconds for 64 KB. Broken markup is read as the HTML standard has it:
what is not closed goes on to the end, and a `<` that begins no tag is text.
"""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
"""Elements that have no end tag."""

_RAW = frozenset(["iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"])
_NAME = re.compile(r"[A-Za-z][^\s/>]*")
_BETWEEN_ATTRIBUTES = re.compile(r"[\s/]*")
_ATTRIBUTE_NAME = re.compile(r"=?[^\s/>=]*")
_EQUALS = re.compile(r"\s*=\s*")
_UNQUOTED = re.compile(r"[^\s>]*")
# Python refuses to read very long numbers; no character has one of so many digits.
_LONG_NUMBER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9A-Fa-f]{8,});?")


@dataclass(frozen=True, slots=True)
class Text:
    """Text between tags, its character references decoded."""

    text: str


@dataclass(frozen=True, slots=True)
class Start:
    """A start tag: the name and the names of its attributes in lower case, values decoded; of two alike the first."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """An end tag, its name in lower case."""

    name: str


Token = Text | Start | End


def read_markup(document: str) -> Iterator[Token]:
    """The tags and texts of an HTML document, in their order. Comments, and the content of scripts, styles and the
    like, are left out. Never raises; takes time in proportion to the length."""
    at = 0
    while at < len(document):
        opening = document.find("<", at)
        if opening < 0:
            opening = len(document)
        if opening > at:
            yield Text(decode_references(document[at:opening]))
        if opening == len(document):
            return
        token, at = _markup(document, opening)
        if token is not None:
            yield token
        if isinstance(token, Start) and token.name in _RAW:
            at = _raw_end(document, at, token.name)


def decode_references(text: str) -> str:
    """The text with its character references replaced. Never raises."""
    return html.unescape(_LONG_NUMBER.sub("\ufffd", text)) if "&" in text else text


def _markup(document: str, at: int) -> tuple[Token | None, int]:
    """What the `<` at this place begins, and where it ends."""
    if document.startswith("<!--", at):
        return None, _behind(document, "-->", at + 2)
    if document.startswith(("<!", "<?"), at):
        return None, _behind(document, ">", at)
    is_end = document.startswith("</", at)
    name = _NAME.match(document, at + 1 + is_end)
    if name is None:
        return (None, _behind(document, ">", at)) if is_end else (Text("<"), at + 1)
    attributes, end = _attributes(document, name.end())
    if end is None:
        return None, len(document)
    word = name[0].lower()
    return (End(word) if is_end else Start(word, attributes)), end


def _attributes(document: str, at: int) -> tuple[dict[str, str], int | None]:
    """The attributes of a tag, and where it ends; None where it is not closed."""
    attributes: dict[str, str] = {}
    while True:
        at = _end_of(_BETWEEN_ATTRIBUTES, document, at)
        if at >= len(document):
            return attributes, None
        if document[at] == ">":
            return attributes, at + 1
        end = _end_of(_ATTRIBUTE_NAME, document, at)
        name, equals = document[at:end].lower(), _EQUALS.match(document, end)
        value, closed = _value(document, equals.end()) if equals else ("", end)
        if closed is None:
            return attributes, None
        attributes.setdefault(name, value)
        at = closed


def _value(document: str, at: int) -> tuple[str, int | None]:
    quote = document[at : at + 1]
    if quote and quote in "\"'":
        end = document.find(quote, at + 1)
        return ("", None) if end < 0 else (decode_references(document[at + 1 : end]), end + 1)
    end = _end_of(_UNQUOTED, document, at)
    return decode_references(document[at:end]), end


def _raw_end(document: str, at: int, name: str) -> int:
    """Where the content of an element ends that holds no tags."""
    found = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(document, at)
    return found.start() if found else len(document)


def _behind(document: str, end: str, at: int) -> int:
    found = document.find(end, at)
    return len(document) if found < 0 else found + len(end)


def _end_of(pattern: re.Pattern[str], document: str, at: int) -> int:
    found = pattern.match(document, at)
    assert found is not None, "it matches nothing at all too"
    return found.end()

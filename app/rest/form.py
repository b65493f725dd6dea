"""Forms and queries, read by PHP's conventions: their clients were written for a PHP server."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from app.errors import InvalidInput, TooLarge
from app.json_text import TooDeep, check_values, parse_json
from app.mail.characters import shown

_NESTED = re.compile(r"([^\[]+)((?:\[[^\]]*\])+)")
_KEY = re.compile(r"\[([^\]]*)\]")
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")
_SLICE = 64 * 1024

_LISTED = frozenset({"to", "cc", "bcc", "attachments", "attachment"})
"""Fields of which each one counts when they are repeated without brackets; of any other, the last one."""

_JSON = _LISTED | {"template_data"}
"""Fields whose text may be a JSON object or list."""


def read_pairs(octets: bytes | bytearray, what: str, max_fields: int) -> list[tuple[str, str]]:
    """The names and values of application/x-www-form-urlencoded, in their order; `what` it is, for messages.

    Raises InvalidInput where they are not UTF-8, TooLarge where there are too many.
    """
    if octets.count(b"&") >= max_fields:
        raise TooLarge(f"The {what} has more than {max_fields} fields, which is the limit.")
    pairs = (pair.partition(b"=") for pair in octets.split(b"&") if pair)
    return [(_text(name, what), _text(value, what)) for name, _, value in pairs]


def nest(pairs: Sequence[tuple[str, str]], max_depth: int, max_values: int) -> dict[str, Any]:
    """The fields that the pairs name: `a[]` appends to a list, `a[b]` puts into an object, to any depth.

    Of a field that JSON fits into, text that is a JSON object or list is taken as that. Raises InvalidInput where a
    name nests too deeply, TooLarge where all the JSON together has too many values.
    """
    check_values([value.encode() for _, value in pairs if _may_be_json(value)], max_values)
    paths = [_path(name, max_depth) for name, _ in pairs]
    named = Counter(root for root, *_ in paths)
    fields: dict[str, _Branch | str] = {}
    for (root, *below), (_, value) in zip(paths, pairs, strict=True):
        if not below and root in _LISTED and named[root] > 1:
            below = [""]
        if not below:
            fields[root] = value
            continue
        branch = fields.get(root)
        if not isinstance(branch, _Branch):
            branch = fields[root] = _Branch()
        branch.put(below, value)
    return {name: _field(name, value, max_depth, max_values) for name, value in fields.items()}


def too_deep(name: str, max_depth: int) -> InvalidInput:
    """The refusal of a field that nests too deeply."""
    field = shown(name)
    return InvalidInput(f"The field '{field}' must be at most {max_depth} levels deep.", field=(field,))


def _text(encoded: bytes | bytearray, what: str) -> str:
    """The text, decoded in slices: unquoting a large one at once would take memory many times its size, and let no
    other thread run meanwhile."""
    octets = bytearray()
    start = 0
    while start < len(encoded):
        end = start + _SLICE
        escape = encoded.rfind(b"%", end - 2, end)
        end = escape if escape >= 0 and end < len(encoded) else end
        octets += unquote_to_bytes(bytes(encoded[start:end]).replace(b"+", b" "))
        start = end
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        octet = octets[error.start]
        raise InvalidInput(f"The {what} is not valid UTF-8: the octet 0x{octet:02X} is out of place.") from None


class _Branch:
    """One level of brackets: PHP's array, which is a list where its keys count from 0."""

    def __init__(self) -> None:
        self.values: dict[str, _Branch | str] = {}
        self._next = 0

    def put(self, path: Sequence[str], value: str) -> None:
        branch = self
        *outer, last = path
        for given in outer:
            key = branch._key(given)
            inner = branch.values.get(key)
            if not isinstance(inner, _Branch):
                inner = branch.values[key] = _Branch()
            branch = inner
        branch.values[branch._key(last)] = value

    def _key(self, given: str) -> str:
        key = given or str(self._next)
        if _INDEX.fullmatch(key):
            self._next = max(self._next, int(key) + 1)
        return key


def _path(name: str, max_depth: int) -> list[str]:
    nested = _NESTED.fullmatch(name)
    if nested is None:
        return [name]
    root, brackets = nested.groups()
    keys: list[str] = _KEY.findall(brackets)
    if len(keys) > max_depth:
        raise too_deep(root, max_depth)
    return [root, *keys]


def _field(name: str, value: _Branch | str, max_depth: int, max_values: int) -> Any:
    plain = _plain(value, any_indexes=name in _LISTED)
    if name not in _JSON:
        return plain
    try:
        if isinstance(plain, list):
            return [part for entry in plain for part in _parts(entry, max_values)]
        return _decoded(plain, max_values)
    except TooDeep:
        raise too_deep(name, max_depth) from None


def _plain(value: _Branch | str, *, any_indexes: bool = False) -> Any:
    if isinstance(value, str):
        return value
    inner = {key: _plain(below) for key, below in value.values.items()}
    indexes = sorted(int(key) for key in inner if _INDEX.fullmatch(key))
    if len(indexes) < len(inner) or not (any_indexes or indexes == list(range(len(inner)))):
        return inner
    return [inner[str(index)] for index in indexes]


def _parts(entry: Any, max_values: int) -> list[Any]:
    decoded = _decoded(entry, max_values)
    return decoded if isinstance(entry, str) and isinstance(decoded, list) else [decoded]


def _decoded(value: Any, max_values: int) -> Any:
    """Text that is a JSON object or list as that; an address such as {a}@example.com stays text."""
    if not isinstance(value, str) or not _may_be_json(value):
        return value
    try:
        return parse_json(value.encode(), max_values)
    except ValueError:
        return value


def _may_be_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")

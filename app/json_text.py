"""JSON as it comes in: a body, the value of a form's field, a message of a WebSocket."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.errors import TooLarge


class TooDeep(Exception):
    """The text nests deeper than the parser goes, which is far beyond every setting."""


def parse_json(text: bytes | bytearray, max_values: int) -> Any:
    """The value. Raises ValueError where this is no JSON in UTF-8, TooDeep, and TooLarge as `check_values` does."""
    if len(text) >= max_values:  # a shorter text has fewer
        check_values((text,), max_values)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith("depth limit"):
            raise TooDeep from None
        raise


def check_values(texts: Sequence[bytes | bytearray], max_values: int) -> None:
    """Raises TooLarge where these texts together would become more than `max_values` values. That is found out before
    any is made, because no other thread runs while they are. An empty list or object counts as two."""
    # What looks like the beginning of a value may stand in a string; most texts have few of that, too.
    if sum(1 + _beginnings(text) for text in texts) <= max_values:
        return
    if sum(_values(text, max_values) for text in texts) > max_values:
        raise TooLarge(f"The JSON has more than {max_values} values, which is the limit.")


def _values(text: bytes | bytearray, enough: int) -> int:
    """How many values; of a text with more than `enough` perhaps another number above that."""
    plain = text.replace(rb"\\", b"").replace(rb"\"", b"")  # now each quote begins or ends a string
    # A value has two strings at most, its name and itself. Where there are more, they need not be taken apart.
    if plain.count(b'"') > 4 * enough:
        return enough + 1
    return 1 + _beginnings(b"".join(plain.split(b'"')[::2]))


def _beginnings(text: bytes | bytearray) -> int:
    """Every value but the outermost is the first one of a list or an object, or follows a comma."""
    return sum(text.count(before) for before in b",[{")

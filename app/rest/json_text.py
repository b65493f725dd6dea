"""JSON as it comes in: a body, or the value of a form's field."""

from typing import Any

import orjson


class TooDeep(Exception):
    """The text nests deeper than the parser goes, which is far beyond every setting."""


def parse_json(text: bytes | bytearray | str) -> Any:
    """The value. Raises ValueError where this is no JSON in UTF-8, and TooDeep."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith("depth limit"):
            raise TooDeep from None
        raise

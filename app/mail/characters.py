"""Characters that may not go where they were put: line breaks in headers, U+0000 in stored text."""

import re

_SURROGATES = "\ud800-\udfff"
_UNSTORABLE = re.compile(f"[\x00{_SURROGATES}]")
_UNPRINTABLE_IN_HEADER = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029{_SURROGATES}]")
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[BbQq]\?")
_SHOWN_CHARACTERS = 100


def unstorable(text: str) -> str | None:
    """Name the first U+0000 or lone surrogate of `text`, as "U+0000"; None when there is none.

    PostgreSQL stores neither, and a lone surrogate has no UTF-8 form to send.
    """
    if "\x00" not in text and (text.isascii() or _has_utf_8(text)):
        return None
    return _first(_UNSTORABLE, text)


def header_breaking(text: str) -> str | None:
    """Name the first control character, line or paragraph separator or lone surrogate of `text`, as "U+000A".

    None of them may stand in a value bound for a header field: CR and LF would start a field of their own.
    """
    return None if text.isprintable() else _first(_UNPRINTABLE_IN_HEADER, text)


def poses_as_encoded_word(text: str) -> bool:
    """Whether a reader may take a part of `text` for an encoded-word (RFC 2047) and decode it, line breaks and all."""
    return "=?" in text and _ENCODED_WORD.search(text) is not None


def _has_utf_8(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _first(forbidden: re.Pattern[str], text: str) -> str | None:
    found = forbidden.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def shown(value: str) -> str:
    """`value` for a message to people: what does not print is escaped, and it is cut at 100 characters."""
    visible = (
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in value[:_SHOWN_CHARACTERS]
    )
    return "".join(visible)[:_SHOWN_CHARACTERS]

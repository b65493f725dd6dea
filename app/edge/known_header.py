"""The header section that a connection sent before: most clients send the same one with each request, but for the
length of the body. To read it field by field takes longer than all else that is done about the octets of a request.
"""

import re

from starlette.types import Scope

from app.answer import Field
from app.indexed import FIRST_FIELDS, first_fields

_LENGTH = b"content-length"
_MOST_DIGITS = 9
_LENGTH_LINE = re.compile(rb"\r\n%b: (\d{1,%d})(?=\r\n)" % (_LENGTH, _MOST_DIGITS), re.IGNORECASE)
_END = b"\r\n\r\n"

_OF_EACH_REQUEST = frozenset({"headers", "state", FIRST_FIELDS})

# What makes of the body, or of what comes behind it, something else than so many octets.
_UNFIT = frozenset({b"transfer-encoding", b"upgrade", b"expect"})


class KnownHeader:
    """Request line and header section of a request, and what the parser made of them."""

    def __init__(self, octets: bytes, digits: tuple[int, int], scope: Scope) -> None:
        """`digits`: where the length of the body begins and ends in the octets."""
        self._before, self._behind = octets[: digits[0]], octets[digits[1] :]
        self._scope = {name: value for name, value in scope.items() if name not in _OF_EACH_REQUEST}
        self._fields: list[Field] = list(scope["headers"])
        self._first_fields = first_fields({"headers": self._fields})
        self._length_at = [name for name, _ in self._fields].index(_LENGTH)

    def read(self, data: bytes) -> tuple[Scope, bytes] | None:
        """The scope, but for its state, and the body, where these octets are one whole request with this header
        section, whatever the length; else None."""
        if not data.startswith(self._before):
            return None
        start = len(self._before)
        end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        digits = data[start:end]
        body_at = end + len(self._behind)
        if not digits.isdigit() or not data.startswith(self._behind, end) or len(data) - body_at != int(digits):
            return None
        fields = self._fields.copy()
        fields[self._length_at] = (_LENGTH, digits)
        first = self._first_fields.copy()
        first[_LENGTH] = digits
        return {**self._scope, "headers": fields, FIRST_FIELDS: first}, data[body_at:]


def known_header(data: bytes, size: int, scope: Scope) -> KnownHeader | None:
    """That of these octets, in which one whole request with a body of this size was read as this scope; None: it is one
    that is better read anew, or there is more than that request."""
    end, names = data.find(_END) + len(_END), [name for name, _ in scope["headers"]]
    if end + size != len(data) or scope["method"] != "POST" or scope["http_version"] != "1.1":
        return None
    if names.count(_LENGTH) != 1 or not _UNFIT.isdisjoint(names):
        return None
    found = _LENGTH_LINE.search(data, 0, end)
    if found is None or int(found[1]) != size:
        return None
    return KnownHeader(data[:end], found.span(1), scope)

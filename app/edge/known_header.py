"""The header section that a connection sent before: most clients send the same one with each request, but for the
length of the body. To read it field by field takes longer than all else that is done about the octets of a request.
"""

from starlette.types import Scope

from app.answer import Field
from app.indexed import FIRST_FIELDS, first_fields

_LENGTH = b"content-length"
_END = b"\r\n\r\n"
_MOST_DIGITS = 9

_OF_EACH_REQUEST = frozenset({"headers", "state", FIRST_FIELDS})

# What makes of the body, or of what comes behind it, something else than so many octets.
_UNFIT = frozenset({b"transfer-encoding", b"upgrade", b"expect"})


class KnownHeader:
    """Request line and header section of a request, and what the parser made of them."""

    def __init__(self, octets: bytes, digits: slice, scope: Scope) -> None:
        """`digits`: where the length of the body is in the octets."""
        self._before, self._behind = octets[: digits.start], octets[digits.stop :]
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
    """That of these octets, which are one whole request with a body of this size, read as this scope; None: it is one
    that is better read anew."""
    if scope["method"] != "POST" or scope["http_version"] != "1.1":
        return None
    names = [name for name, _ in scope["headers"]]
    octets = data[: len(data) - size]
    lines = octets.lower()
    start = lines.find(b"\r\n%b: " % _LENGTH) + len(_LENGTH) + 4
    end = octets.find(b"\r", start)
    value = dict(scope["headers"]).get(_LENGTH)
    if names.count(_LENGTH) != 1 or lines.count(b"\r\n%b:" % _LENGTH) != 1 or not _UNFIT.isdisjoint(names):
        return None
    if octets[start:end] != value or not value.isdigit() or int(value) != size or not octets.endswith(_END):
        return None
    return KnownHeader(octets, slice(start, end), scope)

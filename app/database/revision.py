"""How often the facts that are kept in memory were changed, in any process; and what is kept of them.

The facts are keys, roles, grants, services and DKIM keys; triggers of the database count (see docs/data.md). What was
read after the number, or with it, is as new as the number says, or newer: so it is right for whom the number is still
the same later, and newer than it needs to be for anybody else.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

from app.database.connection import rows
from app.errors import HeliographError

REVISION = "COALESCE((SELECT number FROM revision WHERE name = 'access'), 0)"
"""The number, in SQL."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Outdated(HeliographError):
    """What was judged by facts in memory has to be judged again: the stored facts were changed."""


async def read_revision() -> int:
    """The number of changes that are committed, or made by the running transaction."""
    return int((await rows(f"SELECT {REVISION} AS number"))[0]["number"])


class Kept(Generic[_Key, _Value]):
    """Values that were read with one number, or after it: with the last one. At most so many: what was not asked for
    longest makes room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._number: int | None = None
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key, number: int | None = None) -> _Value | None:
        """The value; None: it is not kept, or was read with another number than this one."""
        if number is not None and number != self._number:
            return None
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: _Key, value: _Value, number: int) -> None:
        """Keep it in place of all that was read with another number."""
        if number != self._number:
            self.forget()
            self._number = number
        self._values[key] = value
        if len(self._values) > self._most:
            self._values.popitem(last=False)

    def forget(self) -> None:
        """Keep nothing."""
        self._values.clear()

"""How often the facts that are kept in memory were changed, in any process; and what is kept of them.

The facts are keys, roles, grants, services and DKIM keys; triggers of the database count (see docs/data.md). What was
read after the number, or with it, is as new as the number says, or newer.
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
    """Values that were read under one number: the newest that one was read under. At most so many: who was not asked
    for longest makes room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._number = 0
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key, number: int | None = None) -> _Value | None:
        """The value; None: it is not kept, or was read under another number than this one."""
        value = self._values.get(key) if number in (None, self._number) else None
        if value is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: _Key, value: _Value, number: int) -> None:
        """Keep it in place of all that was read under a smaller number."""
        if number > self._number:
            self.forget()
            self._number = number
        if number == self._number:
            self._values[key] = value
            while len(self._values) > self._most:
                self._values.popitem(last=False)

    def forget(self) -> None:
        """Keep nothing. Numbers begin anew, too: they may be those of another database, put in place of this one."""
        self._values.clear()
        self._number = 0

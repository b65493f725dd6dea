"""Random octets of the system, for what is needed once per mail or request."""

import os
from collections.abc import Iterator
from struct import Struct
from typing import Any


class RandomParts:
    """What a struct of this layout holds of random octets, at each call anew, of one thread at a time. The system is
    asked for those of many calls at once, since asking it takes longer than all the rest."""

    def __init__(self, layout: str) -> None:
        self._struct = Struct(layout)
        self._left: Iterator[tuple[Any, ...]] = iter(())
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self) -> tuple[Any, ...]:
        for parts in self._left:
            return parts
        self._left = self._struct.iter_unpack(os.urandom(self._struct.size * 256))
        return next(self._left)

    def _forget(self) -> None:
        """A forked process must not have the octets of its parent."""
        self._left = iter(())

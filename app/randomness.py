"""Random octets of the system, for what is needed once per mail or request."""

import os


class RandomOctets:
    """So many octets at each call, of one thread at a time. The system is asked for those of many calls at once, since
    asking it takes longer than all the rest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._octets, self._used = b"", 0
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self) -> bytes:
        if self._used == len(self._octets):
            self._octets, self._used = os.urandom(self._size * 256), 0
        begin, self._used = self._used, self._used + self._size
        return self._octets[begin : self._used]

    def _forget(self) -> None:
        """A forked process must not have the octets of its parent."""
        self._octets, self._used = b"", 0

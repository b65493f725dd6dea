"""What servers offer and do not do well, remembered for a while."""

from collections.abc import Callable, Hashable
from datetime import datetime
from enum import Enum, auto

from app.smtp.connection import Connection


class Fault(Enum):
    """OUT_OF_STEP: pipelined commands were not answered as they should. RIDING: the connection was lost at the end of a
    transaction with another one behind it. CHUNKING: BDAT was refused."""

    OUT_OF_STEP = auto()
    RIDING = auto()
    CHUNKING = auto()


class Faults:
    """By key (a service); each is over after `pause` seconds."""

    def __init__(self, pause: float, clock: Callable[[], datetime]) -> None:
        self._pause = pause
        self._clock = clock
        self._since: dict[tuple[Hashable, Fault], datetime] = {}

    def note(self, key: Hashable, connection: Connection) -> None:
        """Remember what this connection showed."""
        if not (connection.out_of_step or connection.rides_badly or connection.chunks_badly):
            return
        shown = {
            Fault.OUT_OF_STEP: connection.out_of_step,
            Fault.RIDING: connection.rides_badly,
            Fault.CHUNKING: connection.chunks_badly,
        }
        for fault, is_shown in shown.items():
            if is_shown:
                self._since[key, fault] = self._clock()

    def is_over(self, key: Hashable, fault: Fault) -> bool:
        """Whether there is none, as far as is known."""
        if not self._since:
            return True
        since = self._since.get((key, fault))
        if since is not None and (self._clock() - since).total_seconds() > self._pause:
            del self._since[key, fault]
            return True
        return since is None

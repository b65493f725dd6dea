"""The signals that ask a process to stop: the first one gently, a second one at once."""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_by_force(seconds: float) -> None:
    """From now on a signal to stop ends the process like a crash, and so do `seconds`, whatever hangs then."""
    for number in STOP_SIGNALS:
        signal.signal(number, _default_action())
    faulthandler.dump_traceback_later(seconds, exit=True)


def end_well(number: int, frame: FrameType | None) -> NoReturn:
    """Handle a signal by ending with status 0; another one ends the process like a crash."""
    for other in STOP_SIGNALS:
        signal.signal(other, _default_action())
    sys.exit(0)


def _default_action() -> Callable[[int, FrameType | None], None] | signal.Handlers:
    """The system's own needs nothing of this process; but the first process of a container never gets it."""
    return _crash if os.getpid() == 1 else signal.SIG_DFL


def _crash(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)

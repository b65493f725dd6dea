"""What has to be installed for a table; what is missing is told before anything is measured."""

import shutil
from collections.abc import Collection, Iterator
from importlib.util import find_spec

from benchmarks.heliograph import SHIM
from benchmarks.machine import PEERS

_LOADED = frozenset({"accept", "latency", "end_to_end", "memory", "subscribers"})
_SENDING = frozenset({"end_to_end", "round_trips"})
_END_TO_END = frozenset({"end_to_end"})
_COUNTED = frozenset({"instructions"})
_PROGRAMS = {"valgrind": _COUNTED, "wrk": _LOADED, "postfix": _END_TO_END, "smtp-source": _END_TO_END, "node": _SENDING}
_FILES = {SHIM: frozenset({"accept", "latency"}), PEERS / "node_modules" / "nodemailer": _SENDING}
_MODULES = {"django": _END_TO_END, "fastapi_mail": _END_TO_END, "dkim": frozenset({"dkim"})}


def missing(tables: Collection[str]) -> Iterator[str]:
    """What these tables need and is not there, with what installs it."""
    for program, users in _PROGRAMS.items():
        if users.intersection(tables) and shutil.which(program) is None:
            yield f"{program} is missing: run benchmarks/peers/install"
    for file, users in _FILES.items():
        if users.intersection(tables) and not file.exists():
            yield f"{file.name} is missing: run benchmarks/peers/install"
    for module, users in _MODULES.items():
        if users.intersection(tables) and find_spec(module) is None:
            yield f"{module} is missing: pip install '.[bench]'"

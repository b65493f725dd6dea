"""How often Python looks for garbage that reference counts do not find."""

import gc

_ALLOCATIONS = 10_000  # between two looks; Python's 700 are over after a few requests


def spare_the_collector() -> None:
    """Call it once the process has started: what there is by then stays, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)

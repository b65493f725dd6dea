"""How deep a value of JSON nests."""

_NESTS = (dict, list, tuple)


def is_deeper(value: object, levels: int) -> bool:
    """Whether `value` has more levels of objects and lists than that; a value that is neither has none."""
    level = [value] if isinstance(value, _NESTS) else []
    for _ in range(levels):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, _NESTS)
        ]
    return bool(level)

"""How deep a value of JSON nests."""

_NESTS = (dict, list, tuple)


def is_deeper(value: object, levels: int) -> bool:
    """Whether `value` has more levels of objects and lists than that; a value that is neither has none."""
    level = [value] if isinstance(value, _NESTS) else []
    while level and levels > 0:
        levels -= 1
        outers, level = level, []
        for outer in outers:
            for inner in outer.values() if isinstance(outer, dict) else outer:
                if isinstance(inner, _NESTS):
                    level.append(inner)
    return bool(level)

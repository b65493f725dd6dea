"""How deep a value of JSON nests."""

from collections.abc import Iterable, Mapping

Nested = Mapping[str, object] | list[object] | tuple[object, ...]


def is_deeper(value: object, levels: int) -> bool:
    """Whether `value` has more levels of objects and lists than that; a value that is neither has none."""
    level = [value]
    for _ in range(levels):
        level = [inner for outer in level if isinstance(outer, Mapping | list | tuple) for inner in _inside(outer)]
        if not level:
            return False
    return any(isinstance(outer, Mapping | list | tuple) for outer in level)


def _inside(outer: Nested) -> Iterable[object]:
    return outer.values() if isinstance(outer, Mapping) else outer

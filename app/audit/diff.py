"""What differs between two states of a thing, as JSON that may be kept and shown. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from uuid import UUID

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

SET = "set"
CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Secret:
    """A value, for example a sealed password, of which only is told whether there is one, and whether it changed."""

    value: object = field(repr=False)


def diff(
    before: Mapping[str, object], after: Mapping[str, object], max_chars: int
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Of each name whose values differ, the value before and the value after; absent and None are the same.

    Where nothing was before, or nothing is after, only what is not None is told. Texts over `max_chars` are cut, and
    their length is told.
    """
    names = [name for name in (*before, *(set(after) - set(before))) if _differ(before.get(name), after.get(name))]
    names.sort()
    shown_before = {name: _shown(before.get(name), None, max_chars) for name in names if before}
    shown_after = {name: _shown(after.get(name), before.get(name), max_chars) for name in names if after}
    return shown_before, shown_after


def _differ(one: object, other: object) -> bool:
    return _bare(one) != _bare(other)


def _bare(value: object) -> object:
    return value.value if isinstance(value, Secret) else value


def _shown(value: object, earlier: object, max_chars: int) -> Json:
    if isinstance(value, Secret):
        if value.value is None:
            return None
        return SET if _bare(earlier) is None else CHANGED
    return _json(value, max_chars)


def _json(value: object, max_chars: int) -> Json:
    match value:
        case Enum():
            return _json(value.value, max_chars)
        case None | bool() | int() | float():
            return value
        case datetime():
            return value.isoformat()
        case UUID():
            return value.hex
        case str():
            return value if len(value) <= max_chars else f"{value[:max_chars]}… ({len(value)} characters)"
        case Mapping():
            return {str(name): _json(item, max_chars) for name, item in value.items()}
        case list() | tuple():
            return [_json(item, max_chars) for item in value]
    raise TypeError(f"a {type(value).__name__} is no JSON")

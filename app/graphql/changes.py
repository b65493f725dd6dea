"""The fields that a change names: absent stays, null clears."""

from collections.abc import Iterator
from typing import Any

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app.errors import ErrorCode, InvalidInput, Problem


def given_changes(changes: object, *never_null: str) -> dict[str, Any]:
    """Every `Maybe` of the input that is not absent, by its attribute's name.

    Raises InvalidInput with each of `never_null` that is null.
    """
    given = dict(_given(changes))
    problems = [_cannot_be_null(name) for name in never_null if name in given and given[name] is None]
    if problems:
        raise InvalidInput(problems=problems)
    return given


def _given(changes: object) -> Iterator[tuple[str, Any]]:
    for name, value in vars(changes).items():
        if isinstance(value, strawberry.Some):
            yield name, value.value


def _cannot_be_null(name: str) -> Problem:
    field = to_camel_case(name)
    return Problem(ErrorCode.INVALID_INPUT, f"{field} cannot be null; leave it out to keep it.", (field,))

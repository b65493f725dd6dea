"""What an audit entry tells of a change."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.diff import Secret, diff


class Kind(StrEnum):
    SMTP = "SMTP"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ({"b": 2}, {"b": 3})),
        ({"a": 1}, {"a": 1}, ({}, {})),
        ({}, {"a": 1, "b": None}, ({}, {"a": 1})),
        ({"a": 1, "b": None}, {}, ({"a": 1}, {})),
        ({"a": 1}, {"b": 2}, ({"a": 1, "b": None}, {"a": None, "b": 2})),
        ({"a": False}, {"a": None}, ({"a": False}, {"a": None})),
        ({"a": [1]}, {"a": (2, {"x": Kind.SMTP})}, ({"a": [1]}, {"a": [2, {"x": "SMTP"}]})),
        (
            {"a": datetime(2026, 1, 1, tzinfo=UTC)},
            {"a": UUID(int=1)},
            ({"a": "2026-01-01T00:00:00+00:00"}, {"a": UUID(int=1).hex}),
        ),
        ({"p": Secret("x")}, {"p": Secret("y")}, ({"p": "set"}, {"p": "changed"})),
        ({"p": Secret("x")}, {"p": Secret("x")}, ({}, {})),
        ({"p": Secret(None), "a": 1}, {"p": Secret("y"), "a": 1}, ({"p": None}, {"p": "set"})),
        ({"p": Secret("x")}, {"p": Secret(None)}, ({"p": "set"}, {"p": None})),
        ({}, {"p": Secret("y")}, ({}, {"p": "set"})),
        ({}, {"p": Secret(None)}, ({}, {})),
    ],
)
def test_what_differs_is_told_and_nothing_else(before: Any, after: Any, told: Any) -> None:
    assert diff(before, after, 100) == told


def test_a_long_text_is_cut_wherever_it_is_and_its_length_told() -> None:
    cut = "x" * 10 + "… (11 characters)"
    assert diff({}, {"a": "x" * 11, "b": [{"c": "x" * 11}], "d": "x" * 10}, 10) == (
        {},
        {"a": cut, "b": [{"c": cut}], "d": "x" * 10},
    )


def test_what_is_no_json_is_a_bug() -> None:
    with pytest.raises(TypeError, match="a bytes is no JSON"):
        diff({}, {"a": b"x"}, 10)


TEXT = st.text(max_size=8)
LEAF = st.none() | st.booleans() | st.integers() | TEXT
FACTS = st.dictionaries(TEXT, LEAF | st.lists(LEAF, max_size=3) | st.dictionaries(TEXT, LEAF, max_size=3), max_size=4)


@given(FACTS, FACTS, TEXT, st.booleans())
def test_it_is_json_that_tells_every_difference_and_no_secret(
    before: dict[str, Any], after: dict[str, Any], text: str, is_new: bool
) -> None:
    secret = f"canary{text}"
    shown = diff({**before, "s": Secret("old" if is_new else secret)}, {**after, "s": Secret(secret)}, 10**6)
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} - {"s"}
    expected = names | ({"s"} if is_new else set())
    assert set(shown[0]) == set(shown[1]) == expected
    assert all(json.loads(json.dumps(side)) == side for side in shown)
    if not any("canary" in repr(side) for side in (before, after)):
        assert "canary" not in repr(shown)

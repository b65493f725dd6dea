"""How many values a text of JSON has, told before any is made."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import TooLarge
from app.json_text import TooDeep, check_values, parse_json

TEXT = st.text(alphabet='ab,[{}]"\\:é', max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def count(value: Any) -> int:
    """One for each value, two for an empty list or object."""
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return 1
    return 1 + sum(map(count, inner)) if inner else 2


@given(VALUES, st.booleans())
def test_exactly_as_many_values_as_allowed_pass(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    values = count(value)
    assert parse_json(text, values) == value
    with pytest.raises(TooLarge, match=f"more than {values - 1} values"):
        parse_json(text, values - 1)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_several_texts_count_together(values: list[Any]) -> None:
    texts = [json.dumps(value).encode() for value in values]
    together = sum(map(count, values))
    check_values(texts, together)
    with pytest.raises(TooLarge):
        check_values(texts, together - 1)


@given(st.binary(max_size=60) | st.from_regex(rb'[\[\]{},:"\\a0 ]{0,60}', fullmatch=True))
def test_any_bytes_are_json_of_so_many_values_or_refused(text: bytes) -> None:
    for most in (1, 5, 100):
        try:
            value = parse_json(text, most)
        except (ValueError, TooDeep, TooLarge):
            continue
        assert count(value) <= most


def test_what_stands_in_strings_does_not_count() -> None:
    text = json.dumps({"a": 'Dear [you], {name}: \\" , \\\\' * 1000}).encode()
    assert parse_json(text, 2) == json.loads(text)


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"\xff", b'"\\ud800"', b"[1] [2]"])
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text, 100)


def test_what_nests_too_deep_says_so() -> None:
    with pytest.raises(TooDeep):
        parse_json(b"[" * 2000 + b"]" * 2000, 10_000)

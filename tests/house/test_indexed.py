"""Header fields in an index are those that Starlette finds by walking."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from app.indexed import IndexedHeaders, first_fields

RAW = [(b"accept", b"text/html"), (b"x-api-key", b"one"), (b"accept", b"*/*"), (b"x-api-key", b"\xfc"), (b"empty", b"")]


@pytest.mark.parametrize("name", ["accept", "Accept", "x-api-key", "empty", "absent"])
def test_the_index_finds_what_walking_finds(name: str) -> None:
    indexed, walked = IndexedHeaders(raw=RAW), Headers(raw=RAW)
    assert indexed.get(name) == walked.get(name)
    assert indexed.get(name, "-") == walked.get(name, "-")
    assert indexed.getlist(name) == walked.getlist(name)
    assert (name in indexed) == (name in walked)
    if name in walked:
        assert indexed[name] == walked[name]
    else:
        with pytest.raises(KeyError):
            indexed[name]


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=2)), max_size=5))
def test_the_index_of_a_scope_finds_what_walking_finds(fields: list[tuple[bytes, bytes]]) -> None:
    scope: dict[str, Any] = {"headers": iter(fields)}
    indexed, walked = IndexedHeaders(scope=scope), Headers(raw=fields)
    for name in ("a", "B", "c", "absent"):
        assert indexed.get(name) == walked.get(name)
        assert indexed.getlist(name) == walked.getlist(name)
        assert (name in indexed) == (name in walked)
    assert scope["headers"] == fields == indexed.raw
    assert first_fields(scope) is first_fields(scope)

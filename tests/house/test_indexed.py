"""The first header field of each name is the one that Starlette finds by walking."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from app.indexed import first_fields


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=2)), max_size=5))
def test_the_first_fields_of_a_scope_are_those_that_walking_finds(fields: list[tuple[bytes, bytes]]) -> None:
    scope: dict[str, Any] = {"headers": iter(fields)}
    first, walked = first_fields(scope), Headers(raw=fields)
    for name in ("a", "b", "c", "absent"):
        found = first.get(name.encode())
        assert (None if found is None else found.decode("latin-1")) == walked.get(name)
    assert scope["headers"] == fields
    assert first_fields(scope) is first

"""Header fields in an index are those that Starlette finds by walking."""

import pytest
from starlette.datastructures import Headers

from app.indexed import IndexedHeaders

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

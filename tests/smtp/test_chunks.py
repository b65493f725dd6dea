"""Content in chunks: dots are doubled, and line ends are judged, as in one piece."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.smtp import content as module
from app.smtp.content import Chunks, Content, look_through


def stuffed(content: bytes) -> bytes:
    doubled = content.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled


@given(lines=st.lists(st.text(alphabet=".a", max_size=6), min_size=1, max_size=8), size=st.integers(1, 7))
@example(lines=[".", "..", "", "."], size=1)
@example(lines=["aa", ".a"], size=4)
def test_a_dot_that_begins_a_line_is_doubled_wherever_the_content_is_cut(lines: list[str], size: int) -> None:
    content = "".join(f"{line}\r\n" for line in lines).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "CHUNK", size)
        plain, doubled = Content(content, True).chunks(), Content(content, True).stuffed()
        assert isinstance(plain, Chunks)
        assert isinstance(doubled, Chunks)
        cut = [*plain]
        cut.append(plain.last)
        assert b"".join(doubled) + doubled.last == stuffed(content)
        assert b"".join(cut) == content
        assert all(len(chunk) <= size + 1 for chunk in cut)


@given(
    content=st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a"]), max_size=12).map(b"".join), size=st.integers(1, 24)
)
async def test_a_line_without_crlf_is_found_wherever_the_content_is_cut(content: bytes, size: int) -> None:
    whole = content.endswith(b"\r\n") and content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "CHUNK", size)
        assert (await look_through(content)).is_well_formed is whole

"""Content that is read while it goes: in chunks, dots doubled, and never ended where it could not be read."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.smtp import large
from app.smtp.failure import Phase, SmtpFailure
from app.smtp.large import LargeChunks


@dataclass
class Read:
    """Content that comes in these pieces."""

    parts: list[bytes]
    ends: bool = True

    head: bytes = b""

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def isascii(self) -> bool:
        return True

    async def pieces(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part
        if not self.ends:
            raise OSError("the database is gone")


LINES = st.lists(st.text(alphabet=".a", max_size=6), max_size=8).map(lambda lines: "".join(f"{x}\r\n" for x in lines))


@given(content=LINES.map(str.encode), piece=st.integers(1, 9), size=st.integers(1, 7))
@example(content=b".\r\n..\r\n\r\n.\r\n", piece=1, size=1)
@example(content=b"aa\r\n.a\r\n", piece=3, size=7)
async def test_dots_are_doubled_wherever_the_content_is_cut(content: bytes, piece: int, size: int) -> None:
    parts = [content[start : start + piece] for start in range(0, len(content), piece)]
    doubled = content.replace(b"\r\n.", b"\r\n..")
    doubled = b"." + doubled if doubled.startswith(b".") else doubled
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(large, "CHUNK", size)
        for stuffed, expected in ((True, doubled), (False, content)):
            chunks = await LargeChunks(Read(parts), stuffed=stuffed).begin()
            sent = b"".join([chunk async for chunk in chunks])
            assert sent + chunks.last == expected
            assert bool(chunks.last) is bool(content), "the last chunk is held back"


async def test_what_cannot_be_read_to_its_end_is_not_ended() -> None:
    chunks = await LargeChunks(Read([b"one\r\n", b"two\r\n"], ends=False), stuffed=True).begin()
    sent = []

    async def send() -> None:
        async for chunk in chunks:
            sent.append(chunk)  # noqa: PERF401 - what was sent before it failed

    with pytest.raises(SmtpFailure) as raised:
        await send()
    assert sent == [b"one\r\n"]
    assert raised.value.failure.phase is Phase.CONTENT
    assert raised.value.failure.is_internal

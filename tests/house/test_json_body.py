"""A body that is looked through as it arrives says what orjson says of it in one piece, wherever it is cut."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app import json_body
from app.errors import TooLarge, Unavailable
from app.json_body import JsonBody
from app.json_text import TooDeep, parse_json
from app.mail.octets import LongText, in_memory
from app.spool import Spooling

TINY = Spooling(over=3, string_over=4)
MOST = 20

TEXT = st.text(alphabet='abé€😀"\\/\n\t\x00\x7f,:{}[] ', max_size=24) | st.sampled_from(
    ["content", "attachments", "attachment"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=16,
)
PARTS = r"\ud83d \ude00 \uD83D\uDE00 \u00e9 \\ \" \/ \n \ \x \u12 a é 😀 \" u 0 , [ {".split()  # noqa: SIM905 - readable
ESCAPES = st.lists(st.sampled_from([*PARTS, '"', "\x01"]), max_size=14).map("".join)
ANY_TEXT = st.one_of(
    st.builds(lambda value, plain: json.dumps(value, ensure_ascii=plain).encode(), VALUES, st.booleans()),
    ESCAPES.map(lambda text: f'["{text}", 1]'.encode()),
    st.binary(max_size=40),
    st.builds(
        lambda start, wrong, end: start + wrong + end, st.just(b'{"a": "'), st.binary(max_size=20), st.just(b'"}')
    ),
    st.from_regex(rb'[\[\]{},:"\\a0u ]{0,60}', fullmatch=True),
)


def outcome(read: Callable[[], Any]) -> object:
    try:
        return read()
    except (ValueError, TooDeep, TooLarge) as refusal:
        return type(refusal)


def read_in_pieces(text: bytes, sizes: list[int], spooling: Spooling = TINY, **options: bool) -> Any:
    body = JsonBody(spooling)
    start = 0
    while start < len(text):
        size = sizes[start % len(sizes)]
        body.feed(text[start : start + size])
        start += size
    assert body.size == len(text)
    return body.parse(MOST, **options)


@given(text=ANY_TEXT, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), piece=st.integers(1, 12))
@example(text=b'"' + b"\\" * 9 + b'"', sizes=[1], piece=1)
@example(text=b'["\\ud83d\\ude00\\ud83d"]', sizes=[1], piece=3)
@example(text=b'["aaaaaaaa\\ud83d\\ud83d\\ude00"]', sizes=[1], piece=3)
@example(text=b'["aaaaaaaa\xf0\x9f\x98\x80\xf0\x9f", 1]', sizes=[1], piece=1)
@example(text=b'{"aaaaaaaa": 1, "aaaaaaaa": 2, "b": 3}', sizes=[2], piece=12)
@example(text=b'["aaaaaaaaaaaa', sizes=[3], piece=12)
@example(text=b'"aaaaaaaaaaaa"', sizes=[3], piece=12)
def test_any_text_has_the_value_or_the_refusal_that_it_has_in_one_piece(
    text: bytes, sizes: list[int], piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_body, "_PIECE", piece)
        found = outcome(lambda: in_memory(read_in_pieces(text, sizes, files_anywhere=True)))
    assert found == outcome(lambda: parse_json(text, MOST))


def test_values_are_counted_in_what_is_not_a_string() -> None:
    text = orjson.dumps(["," * 1000] * (MOST - 1))
    assert read_in_pieces(text, [50]) == orjson.loads(text)
    with pytest.raises(TooLarge):
        read_in_pieces(orjson.dumps(["," * 1000] * MOST), [50])


def test_what_nests_too_deep_beside_a_long_string_says_so() -> None:
    body = JsonBody(TINY)
    body.feed(b'["' + b"a" * 9)
    body.feed(b'",' + b"[" * 2000 + b"]" * 2000 + b"]")
    with pytest.raises(TooDeep):
        body.parse(10_000)


LONG = "long text " * 3
FILES = {"attachments": [{"name": LONG, "content": LONG}, LONG], "attachment": {"content": LONG}, "content": LONG}


@pytest.mark.parametrize(("anywhere", "inner"), [(False, 0), (True, 2)])
def test_only_the_content_of_attachments_stays_where_it_is(anywhere: bool, inner: int) -> None:
    value = FILES | {"variables": FILES, LONG: [LONG]}
    read = read_in_pieces(orjson.dumps(value), [5], files_anywhere=anywhere)

    def stays(fields: Any) -> int:
        places = (fields["attachments"][0], fields["attachment"])
        return sum(isinstance(place["content"], LongText) for place in places)

    assert (stays(read), stays(read["variables"])) == (2, inner)
    assert isinstance(read["attachments"][0]["content"], LongText)
    assert read["attachments"][0]["content"].whole() == LONG
    assert in_memory(read) == value


def test_nobody_can_send_a_mark() -> None:
    body = JsonBody(TINY)
    body.feed(b'["' + b"a" * 9)
    body.feed(b'"]')
    mark = orjson.loads(bytes(body.document))[0]
    assert read_in_pieces(orjson.dumps([mark, LONG]), [5]) == [mark, LONG]


def test_a_short_body_is_parsed_as_it_is() -> None:
    body = JsonBody(Spooling())
    body.feed(b'{"attachments": [{"content": "')
    body.feed(b"a" * 1000 + b'"}]}')
    assert body.parse(MOST) == {"attachments": [{"content": "a" * 1000}]}


def test_a_body_that_is_no_json_is_left_as_it_is() -> None:
    body = JsonBody(TINY, lambda octets: False)
    body.feed(b'a="' + b"b" * 9)
    body.feed(b'"')
    assert body.document == b'a="' + b"b" * 9 + b'"'


def test_no_room_for_files_is_told_as_temporary(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no room"):
        read_in_pieces(orjson.dumps([LONG]), [5], Spooling(3, 4, tmp_path / "gone"))

"""HTML as tags and text: as browsers read it where it is broken, and never in the square of its length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.markup import End, Start, Text, read_markup

READ = {
    "tags and text": ("<P>a<br/>b</p >", [Start("p"), Text("a"), Start("br"), Text("b"), End("p")]),
    "attributes": (
        "<a HREF='x>y' b=c&amp;d e  f = \"g\" b=2>",
        [Start("a", {"href": "x>y", "b": "c&d", "e": "", "f": "g"})],
    ),
    "references": ("&lt;&amp;&#65;&#x42;&nbsp;&#0;&bogus;", [Text("<&AB\xa0\ufffd&bogus;")]),
    "a number that is too long": (f"&#{'1' * 5000};a", [Text("\ufffda")]),
    "a < that is none": ("1 < 2 <3", [Text("1 "), Text("<"), Text(" 2 "), Text("<"), Text("3")]),
    "comments": ("a<!-- <b> -->b<!doctype html>c<?xml?>d<!-->e", [Text(char) for char in "abcde"]),
    "a comment without end": ("a<!-- b", [Text("a")]),
    "a tag without end": ("a<b c=", [Text("a")]),
    "a value without end": ("a<b c='d>e", [Text("a")]),
    "an end tag of nothing": ("a</>b</ x>c", [Text("a"), Text("b"), Text("c")]),
    "scripts": ("<script>if (a<b) '</p>'</SCRIPT >c", [Start("script"), End("script"), Text("c")]),
    "a style without end": ("<style>p{}", [Start("style")]),
}


@pytest.mark.parametrize("name", READ)
def test_markup_is_read_as_browsers_do(name: str) -> None:
    document, tokens = READ[name]
    assert list(read_markup(document)) == tokens


@given(st.text(st.sampled_from("<>/!-=\"'& \na#1;x"), max_size=60))
def test_any_text_is_read_to_its_end(document: str) -> None:
    tokens = list(read_markup(document))
    assert sum(isinstance(token, Start | End) for token in tokens) <= document.count("<")

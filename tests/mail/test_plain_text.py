"""The text that is made from html: what people read of it, line by line."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.plain_text import text_of

MADE = {
    "paragraphs": ("<p>One\n  two</p><p>three<p>four", "One two\n\nthree\n\nfour"),
    "lines": ("a<br>b<div>c</div><div><div>d</div></div>e<br><br><br><br>f", "a\nb\nc\nd\ne\n\nf"),
    "white space": (" <b> a </b> <i>b</i>c&nbsp;&nbsp;d\u200b ", "a bc d"),
    "entities": ("<p>A&amp;B &lt;x&gt; &euro; &#x1F389;</p>", "A&B <x> € 🎉"),
    "headings": (
        "<h1>Big <b>one</b></h1>a<h2>Two</h2><h3>Three</h3>b",
        "Big one\n=======\n\na\n\nTwo\n---\n\nThree\n\nb",
    ),
    "an empty heading": ("a<h1></h1>b", "a\n\nb"),
    "a link": ('<a href="https://a.example/?b=1&amp;c">Go</a>.', "Go <https://a.example/?b=1&c>."),
    "a link that shows its address": ('<a href="https://A.example/">a.example</a>', "a.example"),
    "a mail address": ('<a href="mailto:a@x.example">a@x.example</a>', "a@x.example"),
    "links that lead nowhere": ('<a href="#top">a</a> <a href="data:,b">b</a> <a href="/d">d</a>', "a b d"),
    "a link in two lines": ('<a href=" https://a.\nexample/b ">Go</a>', "Go <https://a.example/b>"),
    "a link that is not closed": (
        '<a href="https://a.example">A<a href="https://b.example">B',
        "A <https://a.example>B <https://b.example>",
    ),
    "a link of an image": ('<a href="https://a.example"><img src=x></a>', "https://a.example"),
    "images": ('<img src="cid:a" alt=" The  logo "><img src="cid:b" alt=""><img src="cid:c">', "The logo"),
    "a list": ("<ul><li>a<li><p>b</p></li><li>c<br>d</ul>e", "- a\n\n- b\n\n- c\n  d\n\ne"),
    "a numbered list": ("<ol><li>a</li><li>b<ul><li>c</ul><li>d</ol>", "1. a\n2. b\n   - c\n3. d"),
    "a list in the first item": ("<ul><li><ul><li>a</ul></ul>", "  - a"),
    "an empty item": ("<ul><li></li></ul>a", "a"),
    "a table": ("<table><tr><th>A<th>B</tr><tr><td>1</td><td></td><td>2</table>c", "A | B\n1 | 2\n\nc"),
    "a table for layout": ("<table><tr><td><p>a</p></td><td><p>b</p></td></tr></table>", "a\n\nb"),
    "a quote": ("a<blockquote>b<p>c<blockquote>d</blockquote></blockquote>e", "a\n\n> b\n>\n> c\n>\n> > d\n\ne"),
    "preformatted": ("<pre>\n a  b\n\n\n  c</pre>d", " a  b\n\n  c\n\nd"),
    "a rule": ("a<hr>b", "a\n\n---\n\nb"),
    "what is not shown": (
        "<head><title>T</title><style>p{}</style></head><body>a<script>b</script><template>c</template>",
        "a",
    ),
    "a head that is not closed": ("<head><meta x><body>a", "a"),
    "a preheader": ('<div style="display: none; max-height: 0">Pre<p>header</div><p>a', "a"),
    "a width that hides nothing": ('<p style="max-height:0.5em;opacity:0.9">a</p>', "a"),
    "hidden, and not closed": ("<p hidden>a<p>b", "b"),
    "a hidden link": ('<span hidden><a href="https://a.example">a</a></span>b', "b"),
    "nothing": ('<img src="x"><style></style>', ""),
}


@pytest.mark.parametrize("name", MADE)
def test_html_becomes_what_people_read(name: str) -> None:
    html, text = MADE[name]
    assert text_of(html) == text


NAMES = ["p", "div", "a", "b", "ul", "ol", "li", "table", "tr", "td", "blockquote", "pre", "h1", "br", "hr", "img"]
NAMES += ["head", "body", "style", "script", "title", "span", "template"]
ATTRIBUTES = st.sampled_from(["", " hidden", " href=http://x", " alt=y"])
TAGS = st.builds("{}{}{}>".format, st.sampled_from(["<", "</"]), st.sampled_from(NAMES), ATTRIBUTES)
WORDS = st.text(st.sampled_from("ab \n\xa0"), min_size=1, max_size=5)


@given(st.lists(TAGS | WORDS, max_size=40).map("".join))
def test_no_markup_is_left_and_no_line_is_untidy(html: str) -> None:
    text = text_of(html)
    assert not re.search(r"<(?!http://x>)|&|\n\n\n| \n| $", text)
    assert set(text) <= set("ab \nhtp:/x<>|=-1234567890.y")


@given(st.text(max_size=80) | st.text(st.sampled_from("<>/!-=\"'& #1;xXp\n\u2028"), max_size=80))
def test_any_text_has_a_text(html: str) -> None:
    assert not re.search(r"[\x0b\x0c\r\u2028]", text_of(html) + text_of(f"<pre>{html}"))


NESTED = ["<div>a", "<blockquote>a", "<ul><li>a", "<ol><li>a", "<table><tr><td>a", "<b>a", "<a href='http://x'>a"]


@pytest.mark.parametrize("opened", NESTED)
def test_deep_nesting_costs_no_more_than_its_length(opened: str) -> None:
    text = text_of(opened * 5_000)
    assert text.count("a") == 5_000
    assert len(text) < 5_000 * 40


OPEN = ["<!--", "<a", "</a", "<![CDATA[", '<a x="', "<a x='\"", "<a x", "<a x =", "&#1", "<script>", "<p style='"]


@pytest.mark.parametrize("repeated", OPEN)
def test_what_is_never_closed_is_read_once(repeated: str) -> None:
    text_of(repeated * 50_000)

"""What recipients' mail programs read to unsubscribe them, and what is refused to stand there."""

import pytest
from msgspec.structs import replace

from app.errors import ErrorCode
from app.mail.check import check_draft
from app.mail.draft import Draft, DraftLimits, Unsubscribe
from app.mail.placeholders import fill
from app.mail.unsubscribe import check_unsubscribe, unsubscribe_fields
from tests.mail.test_compose import content_of, read

URL = "https://x.example/u?id=1&k=%20"
ONE_CLICK = "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
BOTH = Unsubscribe(URL, "off+1=2@BÜCHER.example", one_click=True)

WRITTEN = {
    "all": (
        BOTH,
        f"List-Unsubscribe: <{URL}>,\r\n <mailto:off+1%3D2@xn--bcher-kva.example>\r\n{ONE_CLICK}\r\n",
    ),
    "a page": (Unsubscribe(URL), f"List-Unsubscribe: <{URL}>\r\n"),
    "a plain page": (Unsubscribe("http://x.example"), "List-Unsubscribe: <http://x.example>\r\n"),
    "an address": (Unsubscribe(email="jürgen@x"), "List-Unsubscribe: <mailto:j%C3%BCrgen@x>\r\n"),
    "a quoted address": (Unsubscribe(email='"a>, <b"@x'), "List-Unsubscribe: <mailto:%22a%3E%2C%20%3Cb%22@x>\r\n"),
}
REFUSED = {
    "nothing": (Unsubscribe(), ""),
    "empty": (Unsubscribe("", ""), ""),
    "one click by mail": (Unsubscribe(email="a@x", one_click=True), "one_click"),
    "one click without TLS": (Unsubscribe("http://x.example", one_click=True), "one_click"),
    "another scheme": (Unsubscribe("ftp://x.example"), "url"),
    "a script": (Unsubscribe("javascript:a()"), "url"),
    "no host": (Unsubscribe("https:///a"), "url"),
    "no address in brackets": (Unsubscribe("https://[a/"), "url"),
    "a space": (Unsubscribe("https://x.example/a b"), "url"),
    "an end of the brackets": (Unsubscribe("https://x.example/>, <https://y"), "url"),
    "a line break": (Unsubscribe("https://x.example/\r\nBcc: a@x"), "url"),
    "beyond ASCII": (Unsubscribe("https://x.example/ü"), "url"),
    "a placeholder unfilled": (Unsubscribe("https://x.example/{id}"), "url"),
    "no address": (Unsubscribe(email="a@"), "email"),
    "a line break in the address": (Unsubscribe(email="a@x\r\nBcc: b@x"), "email"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_fields_are_written_as_the_standards_have_them(name: str) -> None:
    given, fields = WRITTEN[name]
    assert list(check_unsubscribe(Draft(unsubscribe=given))) == []
    assert unsubscribe_fields(given) == fields


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_unsubscribe_is_refused(name: str) -> None:
    given, field = REFUSED[name]
    (problem,) = check_unsubscribe(Draft(unsubscribe=given))
    assert problem.field == ("unsubscribe", *filter(None, [field]))
    assert problem.message.isprintable()


def test_a_url_fits_in_one_line() -> None:
    url = "https://x.example/".ljust(980, "a")
    draft = Draft(text="t", unsubscribe=Unsubscribe(url, "a@x"))
    assert read(content_of(draft))["List-Unsubscribe"] == f"<{url}>, <mailto:a@x>"
    (problem,) = check_unsubscribe(replace(draft, unsubscribe=Unsubscribe(f"{url}a")))
    assert (problem.code, problem.message) == (ErrorCode.TOO_LARGE, "url has 981 characters; the limit is 980.")


@pytest.mark.parametrize("name", ["List-Unsubscribe", "LIST-UNSUBSCRIBE-POST"])
def test_it_is_given_once(name: str) -> None:
    draft = Draft(text="t", headers=(("X-A", "a"), (name, "<https://y>")))
    assert list(check_unsubscribe(draft)) == []
    (problem,) = check_unsubscribe(replace(draft, unsubscribe=BOTH))
    assert problem.field == ("headers", "1", "name")


def test_values_are_encoded_where_they_are_part_of_a_url() -> None:
    given = Unsubscribe("https://x.example/{who}?k={k}&{none}", "off+{k}@x.example")
    filled = fill(Draft(unsubscribe=given, template_data={"who": "a/ü&b", "k": 7})).unsubscribe
    assert filled == Unsubscribe("https://x.example/a%2F%C3%BC%26b?k=7&{none}", "off+7@x.example")
    whole = fill(Draft(unsubscribe=Unsubscribe("{url}&k={k}"), template_data={"url": URL, "k": "&"})).unsubscribe
    assert whole == Unsubscribe(f"{URL}&k=%26")


def test_the_draft_is_checked_with_it() -> None:
    fields = {problem.field for problem in check_draft(Draft(unsubscribe=Unsubscribe("x", "y")), DraftLimits())}
    assert {("unsubscribe", "url"), ("unsubscribe", "email")} <= fields

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.errors import ErrorCode, Problem
from app.mail.address import Mailbox
from app.mail.check import _data, _is_sound_data, _is_sound_letter, _letter, check_draft, is_sound_author
from app.mail.draft import Attachment, Draft, DraftLimits

LIMITS = DraftLimits(
    max_recipients=5,
    max_attachments=3,
    max_attachment_bytes=10,
    max_subject_chars=20,
    max_name_chars=30,
    max_headers=2,
    max_header_chars=40,
    max_body_chars=50,
    max_tags=2,
    max_tag_chars=8,
    max_metadata_bytes=60,
)
GOOD = Draft(to=(Mailbox("a@x", "Jane"),), subject="Hi", text="Hello")
HEADER_BREAKING = ["\r", "\n", "\x00", "\t", "\x7f", "\x9f", "\u2028", "\ud800"]

Change = Callable[[str], dict[str, Any]]


def refused(draft: Draft) -> list[tuple[ErrorCode, tuple[str, ...]]]:
    return [(problem.code, problem.field) for problem in check_draft(draft, LIMITS)]


def test_a_good_draft_has_no_problems() -> None:
    draft = Draft(
        to=(Mailbox("a@x", "Jane Döe"),),
        cc=(Mailbox("ü@bücher.example"),),
        bcc=(Mailbox('"b c"@[192.0.2.1]', ""),),
        subject="Grüße 🎉",
        text="Line one\r\nline two\n\ttabbed\x0c",
        html="<p>ü</p>",
        from_email="me@x",
        from_name="Me",
        reply_to_email="",
        attachments=(Attachment("a.png", b"123", "image/png", "logo@x"), Attachment("b.txt", b"")),
        headers=(("X-One", "ü and more"), ("List-Unsubscribe", "<mailto:u@x>")),
        template_data={"a": [1, None, {"b": "c"}]},
        metadata={"order": 7},
        tags=("welcome",),
    )
    assert check_draft(draft, LIMITS) == ()


def test_all_problems_are_named_at_once() -> None:
    draft = Draft(
        to=(Mailbox("ok@x"), Mailbox("bad", "Ja\nne")),
        cc=(Mailbox("worse@"),),
        bcc=(Mailbox("@worst"),),
        subject="a\r\nBcc: b@x",
        from_email="from",
        from_name="x\x00",
        reply_to_email="reply",
        reply_to_name="y\x00",
        headers=(("Bad Name", "v\n"),),
        attachments=(Attachment("", b"12345678901", "nonsense", "a b"),),
        metadata={"x": "\x00"},
        tags=("ninechars",),
    )
    assert refused(draft) == [
        (ErrorCode.INVALID_EMAIL, ("to", "1", "email")),
        (ErrorCode.INVALID_INPUT, ("to", "1", "name")),
        (ErrorCode.INVALID_EMAIL, ("cc", "0", "email")),
        (ErrorCode.INVALID_EMAIL, ("bcc", "0", "email")),
        (ErrorCode.INVALID_EMAIL, ("from_email",)),
        (ErrorCode.INVALID_INPUT, ("from_name",)),
        (ErrorCode.INVALID_EMAIL, ("reply_to_email",)),
        (ErrorCode.INVALID_INPUT, ("reply_to_name",)),
        (ErrorCode.INVALID_INPUT, ("subject",)),
        (ErrorCode.INVALID_INPUT, ("headers", "0", "name")),
        (ErrorCode.INVALID_INPUT, ("headers", "0", "value")),
        (ErrorCode.INVALID_INPUT, ("attachments", "0", "name")),
        (ErrorCode.TOO_LARGE, ("attachments", "0", "content")),
        (ErrorCode.INVALID_INPUT, ("attachments", "0", "content_type")),
        (ErrorCode.INVALID_INPUT, ("attachments", "0", "content_id")),
        (ErrorCode.INVALID_INPUT, ("metadata",)),
        (ErrorCode.TOO_LARGE, ("tags", "0")),
    ]


@pytest.mark.parametrize(
    "draft", [Draft(text="x"), Draft(text="x", cc=(Mailbox("a@x"),)), Draft(text="x", bcc=(Mailbox("a@x"),))]
)
def test_a_mail_without_to_has_no_recipients(draft: Draft) -> None:
    assert check_draft(draft, LIMITS) == (Problem(ErrorCode.NO_RECIPIENTS, "Invalid email - ''.", ("to",)),)


def test_too_many_recipients_are_one_problem_with_number_and_limit() -> None:
    many = replace(GOOD, to=(Mailbox("bad"),) * 3, cc=(Mailbox("c@x"),) * 2, bcc=(Mailbox("b@x"),))
    (problem,) = check_draft(many, LIMITS)
    assert (problem.code, problem.field) == (ErrorCode.TOO_LARGE, ("to",))
    assert problem.message == "to has 6 recipients; the limit is 5."
    assert refused(replace(GOOD, to=(Mailbox("a@x"),) * 5)) == []


@pytest.mark.parametrize("empty", [None, ""])
def test_a_mail_needs_a_body_or_an_attachment(empty: str | None) -> None:
    (problem,) = check_draft(replace(GOOD, text=empty, html=empty), LIMITS)
    assert problem.code is ErrorCode.NO_BODY
    assert problem.message == "A message must have a text or an HTML part or attachments."
    assert refused(replace(GOOD, text=empty, html=empty, attachments=(Attachment("a", b""),))) == []
    assert refused(replace(GOOD, text=empty, html="<p>")) == []


@pytest.mark.parametrize("char", HEADER_BREAKING)
@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (lambda v: {"to": (Mailbox("a@x", v),)}, ("to", "0", "name")),
        (lambda v: {"subject": v}, ("subject",)),
        (lambda v: {"from_name": v}, ("from_name",)),
        (lambda v: {"reply_to_name": v}, ("reply_to_name",)),
        (lambda v: {"headers": (("X-A", v),)}, ("headers", "0", "value")),
        (lambda v: {"headers": ((v, "x"),)}, ("headers", "0", "name")),
        (lambda v: {"attachments": (Attachment(v, b""),)}, ("attachments", "0", "name")),
        (lambda v: {"attachments": (Attachment("a", b"", f"text/{v}"),)}, ("attachments", "0", "content_type")),
        (lambda v: {"attachments": (Attachment("a", b"", None, v),)}, ("attachments", "0", "content_id")),
    ],
)
def test_no_header_bound_value_may_hold_a_control_character(bad: Change, field: tuple[str, ...], char: str) -> None:
    problems = check_draft(replace(GOOD, **bad(f"a{char}b")), LIMITS)
    assert [(problem.code, problem.field) for problem in problems] == [(ErrorCode.INVALID_INPUT, field)]
    assert problems[0].message.isprintable()


@pytest.mark.parametrize("char", ["\x00", "\ud800"])
@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (lambda v: {"text": v}, ("text",)),
        (lambda v: {"html": v}, ("html",)),
        (lambda v: {"tags": ("ok", v)}, ("tags", "1")),
        (lambda v: {"metadata": {"k": {"deep": ["x", v]}}}, ("metadata",)),
        (lambda v: {"metadata": {v: 1}}, ("metadata",)),
        (lambda v: {"template_data": {"k": [[{v: 1}]]}}, ("template_data",)),
        (lambda v: {"variables": {"k": v}}, ("variables",)),
    ],
)
def test_nothing_that_cannot_be_stored_is_let_in(bad: Change, field: tuple[str, ...], char: str) -> None:
    assert refused(replace(GOOD, **bad(f"a{char}b"))) == [(ErrorCode.INVALID_INPUT, field)]


@pytest.mark.parametrize(
    ("at_limit", "over", "field", "limit"),
    [
        ({"subject": "s" * 20}, {"subject": "s" * 21}, ("subject",), 20),
        ({"text": "t" * 50}, {"text": "t" * 51}, ("text",), 50),
        ({"html": "h" * 50}, {"html": "h" * 51}, ("html",), 50),
        ({"from_name": "n" * 30}, {"from_name": "n" * 31}, ("from_name",), 30),
        ({"to": (Mailbox("a@x", "n" * 30),)}, {"to": (Mailbox("a@x", "n" * 31),)}, ("to", "0", "name"), 30),
        ({"headers": (("A", "v"),) * 2}, {"headers": (("A", "v"),) * 3}, ("headers",), 2),
        ({"headers": (("A", "v" * 40),)}, {"headers": (("A", "v" * 41),)}, ("headers", "0", "value"), 40),
        (
            {"attachments": (Attachment("a", b""),) * 3},
            {"attachments": (Attachment("a", b""),) * 4},
            ("attachments",),
            3,
        ),
        (
            {"attachments": (Attachment("a", b"0123456789"),)},
            {"attachments": (Attachment("a", b"0123456789X"),)},
            ("attachments", "0", "content"),
            10,
        ),
        (
            {"attachments": (Attachment("a" * 30, b""),)},
            {"attachments": (Attachment("a" * 31, b""),)},
            ("attachments", "0", "name"),
            30,
        ),
        (
            {"attachments": (Attachment("a", b"", "text/" + "x" * 25),)},
            {"attachments": (Attachment("a", b"", "text/" + "x" * 26),)},
            ("attachments", "0", "content_type"),
            30,
        ),
        (
            {"attachments": (Attachment("a", b"", None, "c" * 30),)},
            {"attachments": (Attachment("a", b"", None, "c" * 31),)},
            ("attachments", "0", "content_id"),
            30,
        ),
        ({"tags": ("a", "b")}, {"tags": ("a", "b", "c")}, ("tags",), 2),
        ({"tags": ("t" * 8,)}, {"tags": ("t" * 9,)}, ("tags", "0"), 8),
        ({"metadata": {"k": "v" * 52}}, {"metadata": {"k": "v" * 53}}, ("metadata",), 60),
    ],
)
def test_a_limit_may_be_reached_and_not_passed(
    at_limit: dict[str, Any], over: dict[str, Any], field: tuple[str, ...], limit: int
) -> None:
    assert refused(replace(GOOD, **at_limit)) == []
    (problem,) = check_draft(replace(GOOD, **over), LIMITS)
    assert (problem.code, problem.field) == (ErrorCode.TOO_LARGE, field)
    assert f"the limit is {limit}." in problem.message


@pytest.mark.parametrize(
    "name",
    [
        *("From", "SENDER", "to", "Cc", "bcc", "Reply-To", "subject", "Date", "Message-ID", "MIME-Version"),
        *("Content-Type", "content-transfer-encoding", "Content-X", "Return-Path", "Received", "DKIM-Signature"),
        *("Resent-From", "resent-bcc"),
    ],
)
def test_a_field_the_server_writes_is_refused(name: str) -> None:
    assert refused(replace(GOOD, headers=((name, "x"),))) == [(ErrorCode.INVALID_INPUT, ("headers", "0", "name"))]


@pytest.mark.parametrize("name", ["", "X A", "X:A", "X_A", "Ü", "X-A: b\r\nBcc", "X\x00", "x" * 77])
def test_a_field_name_is_letters_digits_and_hyphens(name: str) -> None:
    assert refused(replace(GOOD, headers=((name, "x"),))) == [(ErrorCode.INVALID_INPUT, ("headers", "0", "name"))]
    assert refused(replace(GOOD, headers=(("x" * 76, "x"),))) == []


@pytest.mark.parametrize(
    ("content_type", "accepted"),
    [
        ("image/png", True),
        ("text/plain; charset=utf-8", True),
        ('text/x; a="b c;\\""; d=e', True),
        ("message/rfc822", True),
        ("png", False),
        ("image/", False),
        ("/png", False),
        ("image/png;", False),
        ("image/png; charset", False),
        ("image/ünï", False),
        ('text/plain; a="b', False),
        ("image / png", False),
        ("multipart/mixed", False),
        ("Multipart/Form-Data; boundary=x", False),
    ],
)
def test_a_content_type_is_a_media_type_of_one_file(content_type: str, accepted: bool) -> None:
    draft = replace(GOOD, attachments=(Attachment("a", b"", content_type),))
    problems = check_draft(draft, DraftLimits())
    assert [problem.field for problem in problems] == ([] if accepted else [("attachments", "0", "content_type")])


@pytest.mark.parametrize("content_id", ["<logo>", "a b", "é", "a>b"])
def test_a_content_id_is_printable_ascii_without_brackets(content_id: str) -> None:
    draft = replace(GOOD, attachments=(Attachment("a", b"", None, content_id),))
    assert refused(draft) == [(ErrorCode.INVALID_INPUT, ("attachments", "0", "content_id"))]


def test_a_content_id_names_one_attachment() -> None:
    twice = (Attachment("a", b"", None, "x"), Attachment("b", b""), Attachment("c", b"", None, "x"))
    assert refused(replace(GOOD, attachments=twice)) == [(ErrorCode.INVALID_INPUT, ("attachments", "2", "content_id"))]


@pytest.mark.parametrize("name", ["", " ", "\u3000"])
def test_an_attachment_needs_a_name(name: str) -> None:
    draft = replace(GOOD, attachments=(Attachment(name, b"x"),))
    assert refused(draft) == [(ErrorCode.INVALID_INPUT, ("attachments", "0", "name"))]


def test_metadata_that_no_json_column_can_hold_is_refused() -> None:
    deep: object = "x"
    for _ in range(5000):
        deep = [deep]
    assert refused(replace(GOOD, metadata={"k": deep})) == [(ErrorCode.INVALID_INPUT, ("metadata",))]
    assert refused(replace(GOOD, metadata={"k": 2**64})) == [(ErrorCode.INVALID_INPUT, ("metadata",))]


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize(("field", "levels"), [("template_data", 3), ("variables", 4), ("metadata", 3)])
def test_data_nests_only_so_deep(field: str, levels: int, kind: type) -> None:
    def nested(depth: int) -> Draft:
        value: Any = "leaf"
        for _ in range(depth - 1):
            value = [value] if kind is list else {"k": value}
        change: dict[str, Any] = {field: {"k": value}}
        return replace(GOOD, **change)

    limits = dataclasses.replace(LIMITS, max_json_depth=3)
    assert check_draft(nested(levels), limits) == ()
    for depth in (levels + 1, 5000):
        (problem,) = check_draft(nested(depth), limits)
        assert (problem.code, problem.field) == (ErrorCode.INVALID_INPUT, (field,))
        assert "at most 3 levels deep" in problem.message


TEXTS = st.text(max_size=60)


@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)
def test_any_draft_is_judged_in_printable_sentences(email: str, name: str, subject: str, key: str, kind: str) -> None:
    draft = Draft(
        to=(Mailbox(email, name),),
        subject=subject,
        text=subject,
        headers=((key, name),),
        attachments=(Attachment(name, b"", kind, key),),
        metadata={key: name},
        tags=(key,),
    )
    for problem in check_draft(draft, LIMITS):
        assert problem.message.isprintable()
        assert problem.message.endswith(".")
        assert problem.field


@pytest.mark.parametrize("field", ["template_data", "variables", "metadata"])
@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_numbers_that_json_has_not_are_refused_at_any_depth(field: str, number: float) -> None:
    values: dict[str, Any] = {field: {"a": [{"b": number}, 1.5]}}
    (problem,) = check_draft(replace(GOOD, **values), LIMITS)
    assert (problem.code, problem.field) == (ErrorCode.INVALID_INPUT, (field,))
    assert problem.message == f"{field[0].upper()}{field[1:]} must not contain a number that is not finite."


EMAILS = st.sampled_from(["a@x", "", "bad", "a@b@c", "ü@bücher.example", "a@x\n", f"{'a' * 65}@x"]) | TEXTS
NAMES = st.none() | st.text(max_size=32) | st.sampled_from([*HEADER_BREAKING, "x" * 30, "x" * 31])
BODIES = st.none() | st.text(max_size=52) | st.sampled_from(["", "\x00", "\ud800", "ü\x00", "x" * 50, "x" * 51])
LETTERS = st.builds(
    Draft,
    to=st.lists(st.builds(Mailbox, EMAILS, NAMES), max_size=3).map(tuple),
    cc=st.lists(st.builds(Mailbox, EMAILS, NAMES), max_size=2).map(tuple),
    bcc=st.lists(st.builds(Mailbox, EMAILS, NAMES), max_size=2).map(tuple),
    subject=NAMES,
    text=BODIES,
    html=BODIES,
    from_email=st.none() | EMAILS,
    from_name=NAMES,
    reply_to_email=st.none() | EMAILS,
    reply_to_name=NAMES,
    attachments=st.sampled_from([(), (Attachment("a", b""),)]),
)


@given(LETTERS)
@example(GOOD)
@example(replace(GOOD, to=(Mailbox("a@x"),) * 6))
def test_the_straight_look_finds_nothing_wrong_only_where_nothing_is(draft: Draft) -> None:
    problems, author_is_sound = tuple(_letter(draft, LIMITS)), is_sound_author(draft, LIMITS)
    assert not (problems and author_is_sound and _is_sound_letter(draft, LIMITS))
    assert check_draft(draft, LIMITS) == problems
    assert check_draft(draft, LIMITS, author_is_sound=author_is_sound) == problems


def test_most_mail_needs_no_more_than_the_straight_look() -> None:
    for draft in (GOOD, replace(GOOD, from_email="me@x", from_name="Mé", html="<p>\n</p>")):
        assert _is_sound_letter(draft, LIMITS)
        assert is_sound_author(draft, LIMITS)


KEYS = st.text(max_size=4) | st.sampled_from([*"abcdefghijklmnopqrst", "null", "\x00", "\ud800"])
LEAVES = KEYS | st.none() | st.booleans() | st.integers() | st.floats() | st.just(2**64)
VALUES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
    ),
    max_size=3,
)


@given(VALUES, VALUES, VALUES, st.lists(KEYS | st.just("t" * 9), max_size=3).map(tuple))
@example({}, {"a": [{"b": {}}]}, {}, ())
@example({"a": "x" * 53}, {}, {}, ())
@example({"a": "x" * 54}, {}, {}, ())
def test_data_that_is_told_to_be_right_by_its_json_is_right(
    metadata: dict[str, Any], template_data: dict[str, Any], variables: dict[str, Any], tags: tuple[str, ...]
) -> None:
    draft = replace(GOOD, metadata=metadata, template_data=template_data, variables=variables, tags=tags)
    limits = dataclasses.replace(LIMITS, max_json_depth=4)
    problems = tuple(_data(draft, limits))
    assert not (problems and _is_sound_data(draft, limits))
    assert check_draft(draft, limits) == problems


def test_most_data_needs_no_more_than_its_json() -> None:
    draft = replace(
        GOOD, metadata={"order": 7, "ok": True}, template_data={"name": "Jané", "n": 1.5}, tags=("welcome",)
    )
    assert _is_sound_data(draft, LIMITS)

"""Every shape of a JSON body that clients of the connector send, and those that are refused."""

import base64
from typing import Any

import orjson
import pytest

from app.errors import ErrorCode, InvalidInput, Refusal
from app.mail.address import Mailbox
from app.mail.draft import Attachment, Draft, Link
from app.rest.body import FIELDS, read_draft

A, B, NAMED = Mailbox("a@x"), Mailbox("b@x"), Mailbox("a@x", "Ann")
BASE64 = base64.b64encode(b"octets").decode()


def problems(body: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as refused:
        read_draft(body)
    return [(".".join(problem.field), problem.code.value) for problem in refused.value.problems]


@pytest.mark.parametrize("field", ["to", "cc", "bcc"])
@pytest.mark.parametrize(
    ("value", "mailboxes"),
    [
        ("a@x", (A,)),
        ("Ann <a@x>", (NAMED,)),
        ("a@x, b@x", (A, B)),
        ("a@x; b@x", (A, B)),
        ('"Doe, Jane" <a@x>;b@x', (Mailbox("a@x", "Doe, Jane"), B)),
        ({"email": "a@x"}, (A,)),
        ({"email": "a@x", "name": "Ann"}, (NAMED,)),
        ({"email": "a@x", "name": None}, (A,)),
        ({"email": "a@x", "name": ""}, (A,)),
        ({"email": "a@x", "type": "work"}, (A,)),
        (["a@x", {"email": "b@x"}], (A, B)),
        ([{"email": "a@x", "name": "Ann"}, "b@x, Ann <a@x>"], (NAMED, B, NAMED)),
        ([None, "", "a@x"], (A,)),
        (None, ()),
        ("", ()),
        ([], ()),
        (" , ", ()),
    ],
)
def test_recipients_come_in_any_shape(field: str, value: Any, mailboxes: tuple[Mailbox, ...]) -> None:
    assert getattr(read_draft({field: value, "subject": "s"}), field) == mailboxes


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        (True, "True"),
        ({}, "{…}"),
        ({"name": "Ann"}, "{…}"),
        ({"email": 5}, "{…}"),
        ({"email": "a@x", "name": 5}, "{…}"),
        ([["a@x"]], "[…]"),
        (["a@x", 5], "5"),
    ],
)
def test_recipients_of_any_other_shape_are_refused(value: Any, shown: str) -> None:
    with pytest.raises(InvalidInput, match="takes addresses as strings") as refused:
        read_draft({"to": value})
    (problem,) = refused.value.problems
    assert (problem.code, problem.field) == (ErrorCode.INVALID_EMAIL, ("to",))
    assert problem.message.startswith(f"Invalid email - '{shown}'.")


def test_the_texts_become_the_drafts_own() -> None:
    body = {
        "to": "a@x",
        "subject": "s {a}",
        "body_text": "t",
        "body_html": "<p>h</p>",
        "from_email": "f@x",
        "from_name": "F",
        "reply_to_email": "r@x",
        "reply_to_name": "R",
        "template_data": {"a": 1},
        "b": [2],
    }
    assert read_draft(body) == Draft(
        to=(A,),
        subject="s {a}",
        text="t",
        html="<p>h</p>",
        from_email="f@x",
        from_name="F",
        reply_to_email="r@x",
        reply_to_name="R",
        template_data={"a": 1},
        variables={"b": [2]},
    )


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_sender_takes_the_services_default(empty: Any) -> None:
    draft = read_draft(dict.fromkeys(("from_email", "from_name", "reply_to_email", "reply_to_name"), empty))
    assert (draft.from_email, draft.from_name, draft.reply_to_email, draft.reply_to_name) == (None,) * 4


@pytest.mark.parametrize(
    "field", ["subject", "body_text", "body_html", "from_email", "from_name", "reply_to_email", "reply_to_name"]
)
@pytest.mark.parametrize("value", [5, False, [], {}, ["a"]])
def test_a_text_that_is_no_text_is_refused(field: str, value: Any) -> None:
    assert problems({"to": "a@x", field: value}) == [(field, "INVALID_INPUT")]


@pytest.mark.parametrize(("value", "data"), [({"a": None}, {"a": None}), ({}, {}), (None, {}), ("", {}), ([], {})])
def test_template_data_is_an_object_or_empty(value: Any, data: dict[str, Any]) -> None:
    assert read_draft({"to": "a@x", "template_data": value}).template_data == data


@pytest.mark.parametrize("value", [["a"], "a", 5, True])
def test_template_data_of_any_other_shape_is_refused(value: Any) -> None:
    assert problems({"template_data": value}) == [("template_data", "INVALID_INPUT")]


def test_every_other_key_is_a_variable_and_never_an_error() -> None:
    others: dict[str, Any] = {"name": "Ann", "To": "b@x", "": 1, "ü": None, "list": [1], "object": {"a": 1}}
    draft = read_draft({"to": "a@x", **others})

    assert draft.variables == others
    assert not FIELDS & draft.variables.keys()


@pytest.mark.parametrize("field", ["attachments", "attachment"])
@pytest.mark.parametrize(
    ("value", "attachments"),
    [
        ({"name": "a.txt", "content": BASE64}, (Attachment("a.txt", b"octets"),)),
        ([{"name": "a.txt", "content": BASE64}], (Attachment("a.txt", b"octets"),)),
        ([{"name": "a.txt", "content": ""}], (Attachment("a.txt", b""),)),
        (
            [{"name": "a.png", "content": BASE64, "content_type": "image/png", "content_id": "logo", "size": 6}],
            (Attachment("a.png", b"octets", "image/png", "logo"),),
        ),
        (
            [{"name": "a", "content": BASE64, "content_type": "", "content_id": None}],
            (Attachment("a", b"octets"),),
        ),
        (
            [{"name": "a", "content": BASE64}, None, {"name": "b", "content": BASE64}],
            (
                Attachment("a", b"octets"),
                Attachment("b", b"octets"),
            ),
        ),
        (None, ()),
        ("", ()),
        ([], ()),
        ({}, ()),
    ],
)
def test_attachments_come_in_any_shape(field: str, value: Any, attachments: tuple[Attachment, ...]) -> None:
    assert read_draft({"to": "a@x", field: value}).attachments == attachments


def test_both_names_of_attachments_may_be_used() -> None:
    one, two = {"name": "1", "content": BASE64}, {"name": "2", "content": BASE64}
    draft = read_draft({"attachment": one, "attachments": [two]})
    assert [attachment.name for attachment in draft.attachments] == ["2", "1"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([{"name": "a", "content": BASE64}, {"name": "b", "content": "!!"}], "attachments.1.content"),
        ([{"name": "a", "content": BASE64, "content_type": {"a": 1}}], "attachments.0.content_type"),
        ([{"name": "a", "content": BASE64, "content_id": 7}], "attachments.0.content_id"),
        ([{"name": "a"}], "attachments.0"),
        ([{"content": BASE64}], "attachments.0"),
        ([{"name": 5, "content": BASE64}], "attachments.0"),
        ([5], "attachments.0"),
        (5, "attachments.0"),
        ("a.png", "attachments.0"),
        ("file:///etc/passwd", "attachments.0"),
        ("ftp://example.com/a.png", "attachments.0"),
        ("//example.com/a.png", "attachments.0"),
        ({"url": "a.png"}, "attachments.0"),
        ({"url": 5}, "attachments.0"),
        (["https://example.com/a.png", "a.png"], "attachments.1"),
        ({"service": "files", "path": "a.png"}, "attachments.0"),
        ([{"path": "/etc/passwd"}], "attachments.0"),
    ],
)
def test_attachments_of_any_other_shape_are_refused(value: Any, field: str) -> None:
    assert problems({"to": "a@x", "attachments": value}) == [(field, "INVALID_INPUT")]


@pytest.mark.parametrize("field", ["attachment", "attachments", "import_url"])
@pytest.mark.parametrize("value", ["a.png", "/etc/passwd", {"service": "files", "path": "a.png"}, {"url": "a"}])
def test_a_file_by_path_is_refused_with_the_reason(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match="This server reads no files of its own") as refused:
        read_draft({"to": "a@x", field: value})
    assert refused.value.problems[0].field == (field, "0")


@pytest.mark.parametrize("field", ["attachment", "attachments", "import_url"])
@pytest.mark.parametrize(
    ("value", "links"),
    [
        ("https://x/a.png", [("https://x/a.png", "0")]),
        ("HTTP://x/a.png", [("HTTP://x/a.png", "0")]),
        ({"url": "https://x/a.png"}, [("https://x/a.png", "0")]),
        ("https://x/a,b.png , HTTP://x/c", [("https://x/a,b.png", "0"), ("HTTP://x/c", "0")]),
        (["https://x/a", None, {"url": "http://x/b", "name": "b"}], [("https://x/a", "0"), ("http://x/b", "2")]),
        (None, []),
        ("", []),
        ([], []),
    ],
)
def test_a_url_becomes_a_link(field: str, value: Any, links: list[tuple[str, str]]) -> None:
    draft = read_draft({"to": "a@x", field: value})
    assert draft.links == tuple(Link(url, (field, index)) for url, index in links)
    assert draft.attachments == ()


def test_links_files_and_attachments_stand_side_by_side() -> None:
    file = Attachment("f.txt", b"f")
    entry = {"name": "a", "content": BASE64, "url": "https://x/ignored"}
    draft = read_draft({"attachments": [entry, "https://x/a"], "import_url": "https://x/b"}, (file,))
    assert draft.attachments == (Attachment("a", b"octets"), file)
    assert [link.url for link in draft.links] == ["https://x/a", "https://x/b"]


@pytest.mark.parametrize("value", [5, True, {"name": "a", "content": BASE64}, [["https://x/a"]]])
def test_an_import_url_of_any_other_shape_is_refused(value: Any) -> None:
    assert problems({"to": "a@x", "import_url": value}) == [("import_url.0", "INVALID_INPUT")]


def test_everything_wrong_is_named_at_once() -> None:
    body = {"to": 5, "cc": [[]], "subject": 5, "attachments": [5], "import_url": "x", "template_data": 5}
    assert [field for field, _ in problems(body)] == [
        "to",
        "cc",
        "subject",
        "template_data",
        "attachments.0",
        "import_url.0",
    ]


@pytest.mark.parametrize("field", ["template", "template_id"])
@pytest.mark.parametrize(
    ("value", "named"), [("welcome", "welcome"), ("7", "7"), (7, "7"), (0, "0"), ("", None), (None, None)]
)
def test_a_template_is_named_by_text_or_number(field: str, value: Any, named: str | None) -> None:
    draft = read_draft({"to": "a@x", field: value})
    assert getattr(draft, field) == named
    assert draft.variables == {}


@pytest.mark.parametrize("field", ["template", "template_id"])
@pytest.mark.parametrize("value", [True, False, 1.5, [], ["welcome"], {}, {"name": "welcome"}])
def test_a_template_of_any_other_shape_is_refused(field: str, value: Any) -> None:
    assert problems({"to": "a@x", field: value}) == [(field, "INVALID_INPUT")]


def test_from_and_reply_to_are_variables_and_an_empty_subject_stays_empty() -> None:
    draft = read_draft({"to": "a@x", "from": "f@x", "reply_to": "r@x", "subject": ""})
    assert draft == Draft(to=(A,), subject="", variables={"from": "f@x", "reply_to": "r@x"})


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(InvalidInput, match="No valid data in request"):
        read_draft({})


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_absurd_nesting_is_refused_or_carried_but_never_a_crash(field: str) -> None:
    deep = orjson.loads("[" * 1000 + "]" * 1000)
    for value in (deep, {"email": deep}, {"name": "a", "content": BASE64, "content_type": deep}):
        assert all(len(message) < 300 for message in _messages({field: value}))


def _messages(body: dict[str, Any]) -> list[str]:
    try:
        read_draft(body)
    except Refusal as refusal:
        return [problem.message for problem in refusal.problems]
    return []

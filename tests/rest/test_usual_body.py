"""A body of the usual form is read as every other one is."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from app.errors import Refusal
from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.rest.body import read_draft
from app.rest.usual_body import read_usual_draft

USUAL = {
    "to": [{"email": "ann@x.example", "name": "Ann"}, {"email": "bob@x.example"}],
    "cc": [{"email": "eve@x.example", "name": None}],
    "subject": "Hello",
    "body_text": "It works.",
    "body_html": "<p>It works.",
    "from_email": "shop@x.example",
    "from_name": "",
    "reply_to_email": None,
}

_texts = st.one_of(st.text(max_size=3), st.sampled_from(["", "a@x", "ü", "\ud800", "\U0001f600", "\x00\t\\"]))
_values = st.recursive(
    st.one_of(_texts, st.none(), st.integers(), st.floats(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_texts, inner, max_size=2)),
    max_leaves=4,
)
_rarely = st.integers(0, 19).map(lambda number: number == 0)


@st.composite
def _mailboxes(draw: st.DrawFn) -> dict[str, Any]:
    mailbox = {"email": draw(_values if draw(_rarely) else _texts)}
    mailbox |= {"name": draw(_values if draw(_rarely) else _texts)} if draw(st.booleans()) else {}
    return mailbox | ({"other": draw(_values)} if draw(_rarely) else {})


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    recipients, texts = ["to", "cc", "bcc"], sorted(USUAL.keys() - {"to", "cc"})
    body: dict[str, Any] = {"to": [draw(_mailboxes())]}
    for name in draw(st.lists(st.sampled_from(recipients), max_size=2)):
        body[name] = draw(_values) if draw(_rarely) else draw(st.lists(_mailboxes(), max_size=2))
    for name in draw(st.lists(st.sampled_from(texts), max_size=4)):
        body[name] = draw(_values if draw(_rarely) else _texts)
    if draw(_rarely):
        body[draw(st.sampled_from(["template", "attachments", "To", ""]))] = draw(_values)
    document = bytearray(json.dumps(body, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass"))
    if draw(_rarely):
        document.insert(draw(st.integers(0, len(document))), draw(st.integers(0, 255)))
    return bytes(document)


@given(_documents())
def test_it_is_the_same_draft_or_left_to_the_closer_look(document: bytes) -> None:
    draft = read_usual_draft(document)
    event("usual" if draft else "left")
    if draft is not None:
        assert draft == read_draft(orjson.loads(document))


def test_what_is_usual_is_read() -> None:
    assert read_usual_draft(orjson.dumps(USUAL)) == Draft(
        to=(Mailbox("ann@x.example", "Ann"), Mailbox("bob@x.example")),
        cc=(Mailbox("eve@x.example"),),
        subject="Hello",
        text="It works.",
        html="<p>It works.",
        from_email="shop@x.example",
    )


@pytest.mark.parametrize(
    "field",
    ["subject", "body_text", "body_html", "from_email", "from_name", "reply_to_email", "reply_to_name"],
)
def test_an_empty_text_means_what_it_always_does(field: str) -> None:
    body = USUAL | {field: ""}
    draft = read_usual_draft(orjson.dumps(body))
    assert draft is not None
    assert draft == read_draft(body)


@pytest.mark.parametrize(
    "change",
    [
        {"to": "ann@x.example"},
        {"to": ["ann@x.example"]},
        {"to": []},
        {"to": [{"email": "ann@x.example", "name": ""}]},
        {"cc": [{"email": "ann@x.example", "name": ""}]},
        {"bcc": [{"email": "ann@x.example", "name": ""}]},
        {"to": [{"email": "ann@x.example", "other": 1}]},
        {"to": [{"email": 1}]},
        {"subject": 1},
        {"body_text": ["It works."]},
        {"template": "welcome"},
        {"attachments": []},
        {"name": "a variable"},
        {"subject": "\ud800"},
    ],
)
def test_all_else_is_left_to_the_closer_look(change: dict[str, Any]) -> None:
    assert read_usual_draft(json.dumps(USUAL | change).encode()) is None


def test_what_is_not_utf_8_is_left_where_it_stands_in_no_value_that_is_used() -> None:
    assert read_usual_draft(b'{"to": [{"email": "a@x", "n\xb2me": "a"}]}') is None


def test_neither_look_takes_what_is_no_json() -> None:
    for document in (
        b"",
        b"{",
        b'{"to": [{"email": "a@x"}]',
        b'{"to": [{"email": "a@x"}]} {}',
        b'{"to": [{"email": "a\n"}]}',
    ):
        assert read_usual_draft(document) is None
        with pytest.raises((ValueError, Refusal)):
            read_draft(orjson.loads(document))

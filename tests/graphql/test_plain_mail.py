"""What is read of a usual mail at once is what the input's types make of it, and the usual mail is read at once."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.graphql.coerce import Unfit
from app.graphql.plain_mail import PlainMail, read_plain
from app.graphql.send_email import _draft
from app.mail.octets import LongText
from app.queue.doubt import OnDoubt
from app.queue.engine import Priority
from tests.graphql.api import real_schema
from tests.graphql.test_coerce import MAILBOX, variables

TEXT = st.text(max_size=3)
DATA = st.dictionaries(TEXT, st.none() | TEXT | st.integers() | st.lists(TEXT, max_size=2), max_size=2)
USUAL = st.fixed_dictionaries(
    {"service": TEXT},
    optional={
        **dict.fromkeys(("to", "cc", "bcc"), st.none() | st.lists(MAILBOX, max_size=2)),
        **dict.fromkeys(("from", "replyTo"), st.none() | MAILBOX),
        **dict.fromkeys(("subject", "text", "html", "template", "idempotencyKey"), st.none() | TEXT),
        **dict.fromkeys(("templateData", "metadata"), st.none() | DATA),
    },
)


def by_the_types(value: Any) -> PlainMail:
    """Raises Unfit, and AssertionError for what a plain mail cannot ask for."""
    asked = real_schema()._coerce(copy.deepcopy(value))
    at_once = (None, None, Priority.NORMAL, OnDoubt.RETRY, None)
    assert (asked.send_at, asked.expires_at, asked.priority, asked.on_doubt, asked.wait_seconds) == at_once
    return PlainMail(asked.service, _draft(asked), asked.idempotency_key)


@given(variables() | USUAL)
def test_a_mail_that_is_read_at_once_is_the_same_by_the_types(value: Any) -> None:
    plain = read_plain(copy.deepcopy(value))
    if plain is not None:
        assert plain == by_the_types(value)


@given(USUAL)
def test_a_usual_mail_is_read_at_once(value: Any) -> None:
    assert read_plain(value) is not None


def test_a_long_text_in_the_values_is_read_into_memory() -> None:
    class Octets(bytes):
        def pieces(self) -> Any:
            yield bytes(self)

    value = {"service": "s", "templateData": {"attachments": [{"content": LongText.of(Octets(b"long"))}]}}
    plain = read_plain(value)
    assert plain is not None
    files: Any = plain.draft.template_data["attachments"]
    assert isinstance(files[0]["content"], LongText), "not before its author is known"
    assert plain.whole_draft().template_data == {"attachments": [{"content": "long"}]}


@pytest.mark.parametrize(
    "given",
    [
        {"to": [{"email": "a@x", "nome": "A"}]},
        {"to": [{"email": "a@x", "name": 1}]},
        {"to": {"email": "a@x"}},
        {"from": {"name": "A"}},
        {"subject": LongText("s")},
        {"service": None},
        {"templateData": []},
        {"tags": ["a"]},
        {"sendAt": "2026-12-01T12:00Z"},
        {"unknown": "x"},
    ],
)
def test_what_is_not_usual_is_left_to_the_types(given: dict[str, Any]) -> None:
    assert read_plain({"service": "s", **given}) is None
    assert read_plain([given]) is None


def test_of_what_the_types_refuse_nothing_is_read() -> None:
    for value in (None, {}, {"service": 1}, {"service": "s", "to": [None]}, {"service": "s", "text": 5}):
        with pytest.raises(Unfit):
            real_schema()._coerce(value)
        assert read_plain(value) is None

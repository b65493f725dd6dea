"""The digest of a request: the same for the same request, another for any other."""

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from app.errors import InvalidInput
from app.mail.address import Mailbox
from app.mail.draft import Attachment, Draft, Link, Unsubscribe
from app.queue.doubt import OnDoubt
from app.queue.engine import Priority
from app.queue.schedule import Schedule
from app.submission.digest import digest_request
from tests.factories import after

FILE = Attachment("a.txt", b"octets", "text/plain", "cid")
DRAFT = Draft(
    to=(Mailbox("bob@example.com", "Bob"),),
    cc=(Mailbox("eve@example.com"),),
    bcc=(),
    subject="Hello",
    text="text",
    html="<p>html</p>",
    from_email="ada@example.com",
    from_name=None,
    reply_to_email=None,
    reply_to_name="Ada",
    attachments=(FILE,),
    headers=(("X-A", "1"), ("X-B", "2")),
    template_data={"a": 1, "b": {"c": [1, 2], "d": None}},
    variables={"v": "w"},
    metadata={"m": True},
    tags=("one", "two"),
)
OTHER: dict[str, list[Any]] = {
    "to": [(Mailbox("bob@example.com"),), (Mailbox("Bob@example.com", "Bob"),), ()],
    "cc": [(), (Mailbox("eve@example.com", ""),)],
    "bcc": [(Mailbox("eve@example.com"),)],
    "subject": ["hello", "", None],
    "text": ["text ", None],
    "html": ["<p>html</p> ", None],
    "from_email": ["ada@EXAMPLE.com", None],
    "from_name": ["", "None"],
    "reply_to_email": ["", "ada@example.com"],
    "reply_to_name": [None],
    "attachments": [
        (),
        (FILE, FILE),
        (dataclasses.replace(FILE, name="b.txt"),),
        (dataclasses.replace(FILE, content=b"octetz"),),
        (dataclasses.replace(FILE, content_type=None),),
        (dataclasses.replace(FILE, content_id=None),),
    ],
    "links": [(Link("https://a.example/?x=1", ("import_url",)),), (Link("https://a.example/?x=2", ("import_url",)),)],
    "template": ["welcome", ""],
    "template_id": ["1", ""],
    "headers": [(("X-B", "2"), ("X-A", "1")), (("X-A", "1"),)],
    "template_data": [{"a": 1, "b": {"c": [2, 1], "d": None}}, {"a": "1", "b": {"c": [1, 2], "d": None}}, {"a": 1}],
    "variables": [{}, {"v": "x"}],
    "metadata": [{"m": 1}, {"m": "true"}],
    "tags": [("two", "one"), ("one,two",)],
    "unsubscribe": [
        Unsubscribe(url="https://a.example"),
        Unsubscribe(email="a@a.example"),
        Unsubscribe(one_click=True),
    ],
}


def test_the_same_request_has_the_same_digest() -> None:
    assert digest_request("email", DRAFT) == digest_request("EMail", replace(DRAFT))
    assert len(digest_request("email", DRAFT)) == 64


def test_the_order_of_keys_does_not_matter() -> None:
    shuffled = replace(DRAFT, template_data={"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert digest_request("email", shuffled) == digest_request("email", DRAFT)


def test_a_change_of_any_field_changes_the_digest() -> None:
    assert set(OTHER) == set(Draft.__struct_fields__), "every field of a draft is tried"
    changed = [replace(DRAFT, **{name: value}) for name, values in OTHER.items() for value in values]
    digests = {digest_request("email", draft) for draft in (DRAFT, *changed)}

    assert len(digests) == len(changed) + 1


def test_another_service_has_another_digest() -> None:
    assert digest_request("other", DRAFT) != digest_request("email", DRAFT)


def test_a_value_moved_to_another_field_changes_the_digest() -> None:
    assert digest_request("a", Draft(text="x")) != digest_request("a", Draft(html="x"))
    assert digest_request("a", Draft(variables={"v": 1})) != digest_request("a", Draft(template_data={"v": 1}))


def test_lone_surrogates_can_be_digested_and_absurd_nesting_is_refused() -> None:
    assert digest_request("a", Draft(subject="\ud800")) != digest_request("a", Draft(subject="\udc00"))
    nested: object = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(InvalidInput, match="nest too deeply"):
        digest_request("a", Draft(variables={"v": nested}))


@pytest.mark.parametrize(
    "other",
    [
        Schedule(send_at=after(60)),
        Schedule(expires_at=after(60)),
        Schedule(priority=Priority.HIGH),
    ],
)
def test_another_schedule_is_another_request(other: Schedule) -> None:
    assert digest_request("a", DRAFT, other) == digest_request("a", DRAFT, dataclasses.replace(other))
    assert digest_request("a", DRAFT, other) != digest_request("a", DRAFT)


def test_what_is_to_become_of_a_mail_in_doubt_is_part_of_the_request() -> None:
    assert digest_request("a", DRAFT, on_doubt=OnDoubt.RETRY) == digest_request("a", DRAFT)
    assert digest_request("a", DRAFT, on_doubt=OnDoubt.FAIL) != digest_request("a", DRAFT)

"""Little work is done at once; anything that could keep others waiting is not, whatever field makes it so."""

import threading
from typing import Any

import pytest

from app.mail.address import Mailbox
from app.mail.draft import Attachment, Draft, Link, Unsubscribe
from app.submission.effort import at_once_if_little, is_little

BOB = Mailbox("bob@example.com", "Bob")
LONG = "x" * 20_000
LITTLE: dict[str, Any] = {
    "to": (BOB,) * 10,
    "subject": "Hello {name}",
    "text": "It works, {name}. " * 50,
    "html": "<p>It works, {name}. {subject}</p>" * 20,
    "from_email": "ada@example.com",
    "attachments": (Attachment("a.txt", b"x" * 1000, "text/plain"),),
    "headers": (("X-Campaign", "one"),),
    "template_data": {"name": "Bob", "age": 5, "ratio": 0.5, "none": None, "list": [1, {"a": True}]},
    "metadata": {"order": {"id": 17}},
    "tags": ("a", "b"),
    "unsubscribe": Unsubscribe("https://example.com/{name}"),
}


def test_an_ordinary_mail_is_little() -> None:
    assert is_little(Draft(**LITTLE))
    assert is_little(Draft())


@pytest.mark.parametrize(
    "fields",
    [
        {"to": (BOB,) * 70},
        {"cc": (BOB,) * 35, "bcc": (BOB,) * 35},
        {"to": (Mailbox(LONG),)},
        {"to": (Mailbox("bob@example.com", LONG),)},
        {"subject": LONG},
        {"text": LONG},
        {"html": "<p>" * 400},
        {"text": "", "html": LONG},
        {"from_email": LONG},
        {"reply_to_name": LONG},
        {"template": LONG},
        {"template_id": LONG},
        {"attachments": (Attachment("a.bin", LONG.encode()),)},
        {"attachments": (Attachment(LONG, b""),)},
        {"attachments": (Attachment("a", b"", LONG),)},
        {"attachments": (Attachment("a", b"", None, LONG),)},
        {"attachments": (Attachment("a", b""),) * 100},
        {"links": (Link("https://example.com", ()),) * 100},
        {"links": (Link(LONG, ()),)},
        {"headers": (("X-A", LONG),)},
        {"headers": (("X-A", ""),) * 100},
        {"template_data": {"a": {"b": [{"c": LONG}]}}},
        {"template_data": {LONG: 1}},
        {"variables": {str(n): n for n in range(2000)}},
        {"metadata": {"a": [0] * 2000}},
        {"metadata": {"a": object()}},
        {"tags": (LONG,)},
        {"unsubscribe": Unsubscribe(LONG)},
        {"unsubscribe": Unsubscribe(None, LONG)},
        {"text": "{a}" * 1000, "template_data": {"a": "y" * 1000}},
        {"text": "{subject}" * 1000, "subject": "y" * 900},
    ],
)
def test_a_lot_of_anything_is_much(fields: dict[str, Any]) -> None:
    assert not is_little(Draft(**{"text": "", **fields} if "html" not in fields else fields))


async def test_only_what_is_much_goes_to_a_thread() -> None:
    here = threading.get_ident()
    assert await at_once_if_little(Draft(**LITTLE), threading.get_ident) == here
    assert await at_once_if_little(Draft(text=LONG), threading.get_ident) != here


def test_braces_of_css_make_a_mail_no_larger() -> None:
    assert is_little(Draft(to=(BOB,), subject="Hello", text="x" * 4000, html="<style>p { color: red }</style>" * 100))
    assert not is_little(Draft(to=(BOB,), subject="Hello" * 30, text="x", html="{" * 200))

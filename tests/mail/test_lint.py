"""Each rule finds what it is for, where it is, and nothing in a good mail."""

import dataclasses
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.mail.address import Mailbox
from app.mail.draft import Attachment, Draft, Unsubscribe
from app.mail.lint.domains import are_related, domain_of, look_alike
from app.mail.lint.finding import LintCode, LintLimits, Outgoing
from app.mail.lint.rules import lint
from app.settings import Settings

SHOWN = '<img src="cid:logo@x" alt="Logo"><img src="https://x.example/b" alt="">'
HTML = f'<p>Hi, <a href="https://x.example/a">see</a> {SHOWN}'
LOGO = Attachment("logo.png", b"png", "image/png", "logo@x")
GOOD = Outgoing(
    Draft(to=(Mailbox("b@y.example"),), subject="Hi", text="Hi", html=HTML, attachments=(LOGO,)),
    Mailbox("a@mail.shop.example"),
    Mailbox("help@shop.example"),
    service_domains=("shop.example",),
    size=1000,
    size_limit=1000,
)
LIMITS = LintLimits(lint_mail_bytes=2000, lint_html_bytes=1000, lint_visible_recipients=2, lint_bulk_recipients=3)
MANY = tuple(Mailbox(f"b{number}@y.example") for number in range(4))
ONE_CLICK = Unsubscribe("https://shop.example/u", one_click=True)


def html(more: str) -> dict[str, Any]:
    return {"html": HTML + more}


Row = tuple[dict[str, Any], dict[str, Any], list[str]]
FOUND: dict[str, Row] = {
    "a good mail": ({}, {}, []),
    "only text": ({"html": None, "attachments": ()}, {}, []),
    "over the server's SIZE": ({}, {"size": 1001}, ["OVER_SERVER_SIZE: "]),
    "large": ({}, {"size": 2001, "size_limit": None}, ["LARGE_MAIL: "]),
    "a local part beyond ASCII": ({}, {"smtputf8": True}, ["NEEDS_SMTPUTF8: "]),
    "no subject": ({"subject": None}, {}, ["NO_SUBJECT: subject"]),
    "an empty subject": ({"subject": " "}, {}, ["NO_SUBJECT: subject"]),
    "placeholders": (
        {"subject": "{a}", "text": "{b}", "unsubscribe": Unsubscribe(email="{b}@x")} | html("{a}"),
        {"unfilled": ("a", "b")},
        [f"UNFILLED_PLACEHOLDER: {field}" for field in ("subject", "text", "html", "unsubscribe.email")],
    ),
    "braces that are CSS": (html("<style>b{color:red}</style>"), {}, []),
    "no text": ({"text": None}, {}, ["NO_TEXT_PART: text"]),
    "no text because it is empty": ({"text": ""}, {}, ["NO_TEXT_PART: text"]),
    "a text made from the html": ({}, {"automatic_text": True}, ["AUTOMATIC_TEXT: text"]),
    "much html": (html("ü" * 500), {}, ["HTML_CLIPPED: html"]),
    "a file that is not there": (html('<td background="cid:none">'), {}, ["MISSING_INLINE_IMAGE: html"]),
    "a file in a style": (html("<b style=\"background:url('cid:none')\">"), {}, ["MISSING_INLINE_IMAGE: html"]),
    "a file that is not used": ({"html": "<p>Hi"}, {}, ["UNUSED_INLINE_IMAGE: attachments.0.content_id"]),
    "a file without html": ({"html": None}, {}, ["UNUSED_INLINE_IMAGE: attachments.0.content_id"]),
    "a file that a style sheet uses": ({"html": "<style>b{background:url(cid:logo%40x)}</style>"}, {}, []),
    "no alternative text": (html("<img src=https://x.example/a>"), {}, ["IMAGE_WITHOUT_ALT: html"]),
    "a hidden image": (html('<img src=https://x.example/a style="display:none">'), {}, []),
    "an image that counts readers": (html('<img src="http://x.example/a" width=1 height="1">'), {}, []),
    "an image over http": (html("<img src=http://x.example/a alt=a>"), {}, ["INSECURE_IMAGE: html"]),
    "an image of a site": (html("<img src=/a alt=a><img src=data:a alt=a>"), {}, ["IMAGE_NOT_SHOWN: html"]),
    "a link of a site": (html("<a href=/a>a</a><a href=#a>a</a>"), {}, ["LINK_NOT_ABSOLUTE: html"]),
    "a link that lies": (html("<a href=https://evil.example>https://x.example</a>"), {}, ["LINK_SHOWS_ANOTHER: html"]),
    "a link that does not": (html("<a href=https://a.x.example>www.x.example</a>"), {}, []),
    "a script": (html("<script>a</script>"), {}, ["ACTIVE_CONTENT: html"]),
    "an event": (html("<p onclick=a()>"), {}, ["ACTIVE_CONTENT: html"]),
    "a link to a script": (html("<a href=' JavaScript:a()'>a</a>"), {}, ["ACTIVE_CONTENT: html"]),
    "a form": (html("<form></form>"), {}, ["ACTIVE_CONTENT: html"]),
    "structured data": (html('<script type="application/ld+json">{}</script>'), {}, []),
    "another sender": ({}, {"service_domains": ("other.example", "third.example")}, ["FROM_NOT_ALIGNED: from_email"]),
    "a service of which nothing is known": ({}, {"service_domains": ()}, []),
    "another sender that it is signed for": ({}, {"service_domains": ("other.example",), "is_signed": True}, []),
    "a key that cannot be used": ({}, {"unsignable": "The key is torn."}, ["CANNOT_BE_SIGNED: from_email"]),
    "replies elsewhere": ({}, {"reply_to": Mailbox("a@gmail.example")}, ["REPLY_TO_NOT_ALIGNED: reply_to_email"]),
    "no replies": ({}, {"reply_to": None}, []),
    "visible recipients": ({"to": MANY[:2], "cc": MANY[2:3]}, {}, ["MANY_VISIBLE_RECIPIENTS: to"]),
    "hidden recipients": ({"bcc": MANY[:2]}, {}, []),
    "many recipients": ({"bcc": MANY[:3]}, {}, ["NO_UNSUBSCRIBE: unsubscribe"]),
    "a tag": ({"tags": ("Newsletter",)}, {}, ["NO_UNSUBSCRIBE: unsubscribe"]),
    "precedence": ({"headers": (("precedence", "Bulk"),)}, {}, ["NO_UNSUBSCRIBE: unsubscribe"]),
    "a list": ({"headers": (("List-Id", "<a.b>"),)}, {}, ["NO_UNSUBSCRIBE: unsubscribe"]),
    "a list with a header field": ({"headers": (("List-Unsubscribe", "<a>"),)}, {}, ["NO_ONE_CLICK: unsubscribe"]),
    "bulk without one click": (
        {"tags": ("bulk",), "unsubscribe": dataclasses.replace(ONE_CLICK, one_click=False)},
        {},
        ["NO_ONE_CLICK: unsubscribe"],
    ),
    "bulk with one click": ({"tags": ("bulk",), "unsubscribe": ONE_CLICK}, {}, []),
    "another tag": ({"tags": ("invoice",)}, {}, []),
    "a program": ({"attachments": (LOGO, Attachment("a.Exe ", b""))}, {}, ["BLOCKED_ATTACHMENT: attachments.1.name"]),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_rule_finds_what_it_is_for(name: str) -> None:
    draft, mail, found = FOUND[name]
    outgoing = dataclasses.replace(GOOD, draft=replace(GOOD.draft, **draft), **mail)
    findings = lint(outgoing, LIMITS)
    assert [f"{finding.code}: {'.'.join(finding.field)}" for finding in findings] == found
    assert all(finding.message.isprintable() and finding.message.endswith(".") for finding in findings)


def test_every_code_is_found_and_the_worst_comes_first() -> None:
    found = {row.partition(":")[0] for _, _, rows in FOUND.values() for row in rows}
    assert found == set(LintCode) - {"REPLY_TO_LOOK_ALIKE"}
    draft = replace(GOOD.draft, subject="", html=f"{HTML}<img src=cid:none alt=a>")
    codes = [finding.code for finding in lint(dataclasses.replace(GOOD, draft=draft, smtputf8=True), LIMITS)]
    assert codes == [LintCode.MISSING_INLINE_IMAGE, LintCode.NO_SUBJECT, LintCode.NEEDS_SMTPUTF8]


def test_the_page_lists_every_code_with_its_severity() -> None:
    page = (Path(__file__).parents[2] / "docs" / "preview.md").read_text()
    listed = dict(re.findall(r"^\| `([A-Z_0-9]+)` \| (\w+) \|", page, re.MULTILINE))
    assert set(listed) == set(LintCode)
    for draft, mail, _ in FOUND.values():
        for finding in lint(dataclasses.replace(GOOD, draft=replace(GOOD.draft, **draft), **mail), LIMITS):
            assert listed[finding.code] == finding.severity.lower()


ALIKE = {
    ("paypal.example", "paypa1.example"): True,
    ("microsoft.example", "rnicrosoft.example"): True,
    ("example.com", "xn--xample-2of.com"): True,
    ("bücher.example", "bucher.example"): True,
    ("example.com", "exampel.com"): True,
    ("example.com", "help.examples.com"): True,
    ("example.com", "exmple.com"): True,
    ("example.com", "help.example.com"): False,
    ("example.com", "example.org"): False,
    ("shop.example", "show.example"): False,
    ("example.com", "sample.net"): False,
    ("localhost", "localhosts"): False,
    ("[192.0.2.1]", "[192.0.2.2]"): False,
}


RELATED = {
    ("mail1.example.com", "mail2.example.com"): True,
    ("news.example.com", "example.com"): True,
    ("a.b.example.co.uk", "c.example.co.uk"): True,
    ("one.co.uk", "two.co.uk"): False,
    ("one.gouv.fr", "two.gouv.fr"): False,
    ("example.com", "example.org"): False,
    ("one.com", "two.com"): False,
    ("[192.0.2.1]", "[198.0.2.1]"): False,
    ("localhost", "localhosts"): False,
}


@pytest.mark.parametrize(("one", "other"), RELATED)
def test_domains_of_one_owner_are_related(one: str, other: str) -> None:
    assert are_related(one, other) == are_related(other, one) == RELATED[one, other]
    assert not (RELATED[one, other] and look_alike(one, other))


@pytest.mark.parametrize(("own", "other"), ALIKE)
def test_a_double_is_told_from_a_relative(own: str, other: str) -> None:
    one, two = domain_of(f"a@{own}"), domain_of(f"a@{other}")
    assert look_alike(one, two) == look_alike(two, one) == ALIKE[own, other]
    mail = dataclasses.replace(GOOD, sender=Mailbox(f"a@{own}"), reply_to=Mailbox(f"a@{other}"), service_domains=())
    codes = [finding.code for finding in lint(mail, LIMITS)]
    kind = LintCode.REPLY_TO_LOOK_ALIKE if ALIKE[own, other] else LintCode.REPLY_TO_NOT_ALIGNED
    assert codes == ([] if are_related(one, two) else [kind])


@given(st.text(max_size=60), st.text(st.sampled_from("ab.-xn1\u0430ü"), max_size=20))
def test_no_mail_is_too_odd_to_be_looked_at(text: str, domain: str) -> None:
    draft = Draft(subject=text, html=f"<a href='{text}'>{text}<img src='{text}'>", attachments=(Attachment(text, b""),))
    assert lint(Outgoing(draft, Mailbox("a@example.com"), Mailbox(f"a@{domain}")), LIMITS)


def test_the_limits_have_the_defaults_of_the_settings() -> None:
    assert {field.name: field.default for field in fields(LintLimits)} == {
        field.name: Settings.model_fields[field.name].default for field in fields(LintLimits)
    }

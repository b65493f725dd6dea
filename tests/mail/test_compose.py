import re
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime
from itertools import product

import fast_mail_parser
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.mail.address import Mailbox
from app.mail.check import check_draft
from app.mail.compose import compose, file_name
from app.mail.draft import Attachment, Draft, DraftLimits
from app.mail.envelope import make_envelope

SENDER = Mailbox("me@example.test", "Me")
DATE = datetime(2026, 11, 22, 17, 4, 5, tzinfo=UTC)
PNG = Attachment("logo.png", b"\x89PNG\r\n\x1a\n", "image/png", "logo")
PDF = Attachment("invoice.pdf", b"%PDF-1.7\r\n\x00\xff")

HEADER_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=100)
BODIES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=300)
EMAILS = st.sampled_from(["a@x", "b@bücher.example", '"c d"@x', "e@[192.0.2.1]", "jürgen@x", "用户@例え.テスト"])
MAILBOXES = st.builds(Mailbox, EMAILS, st.none() | HEADER_TEXT)
ATTACHMENTS = st.builds(
    Attachment,
    HEADER_TEXT.filter(lambda name: bool(name.strip())),
    st.binary(max_size=200),
    st.sampled_from([None, "image/png", "text/plain; charset=iso-8859-1", "text/html", "message/rfc822"]),
)
DRAFTS = st.builds(
    Draft,
    to=st.lists(MAILBOXES, min_size=1, max_size=4).map(tuple),
    cc=st.lists(MAILBOXES, max_size=2).map(tuple),
    bcc=st.lists(st.just(Mailbox("hidden@secret.example", "Hidden")), max_size=1).map(tuple),
    subject=st.none() | HEADER_TEXT,
    text=st.none() | BODIES,
    html=st.none() | BODIES,
    attachments=st.lists(ATTACHMENTS, max_size=2).map(tuple),
    headers=st.lists(st.tuples(st.sampled_from(["X-A", "List-Unsubscribe"]), HEADER_TEXT), max_size=2).map(tuple),
).filter(lambda draft: not check_draft(draft, DraftLimits()))


def content_of(draft: Draft, *, sender: Mailbox = SENDER, reply_to: Mailbox | None = None) -> bytes:
    return compose(draft, sender=sender, reply_to=reply_to, message_id="<id@example.test>", date=DATE)


def read(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    assert not any(part.defects for part in message.walk())
    return message


def shape(part: EmailMessage) -> str:
    children = [shape(child) for child in part.iter_parts() if isinstance(child, EmailMessage)]
    name = part.get_content_subtype()
    return f"{name}({', '.join(children)})" if children else name


def as_lines(text: str) -> str:
    """What any reader gives back: the same lines, each of them ended."""
    lines = re.sub("\r\n|\r", "\n", text)
    return lines if lines.endswith("\n") else f"{lines}\n"


def body(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    assert isinstance(part, EmailMessage)
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def octets(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def assert_fit_for_smtp(content: bytes, *, smtputf8: bool) -> None:
    header, _, rest = content.partition(b"\r\n\r\n")
    assert rest.isascii()
    assert header.isascii() or smtputf8
    assert b"\x00" not in content
    assert content.endswith(b"\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert not re.search(rb"^bcc", header, re.IGNORECASE | re.MULTILINE)
    assert b"hidden@secret.example" not in header


@given(DRAFTS, MAILBOXES, st.none() | MAILBOXES)
@settings(max_examples=150)
def test_everything_composed_is_fit_for_smtp(draft: Draft, sender: Mailbox, reply_to: Mailbox | None) -> None:
    content = content_of(draft, sender=sender, reply_to=reply_to)
    envelope = make_envelope("me@x", draft, sender=sender, reply_to=reply_to)
    assert_fit_for_smtp(content, smtputf8=envelope.smtputf8)
    assert content.partition(b"\r\n\r\n")[0].isascii() is not envelope.smtputf8
    names = [name for name, _ in read(content).raw_items()]
    expected = ["Date", "From", "To"]
    expected += ["Cc"] * bool(draft.cc) + ["Reply-To"] * bool(reply_to) + ["Subject"] * (draft.subject is not None)
    expected += ["Message-ID", "MIME-Version", *(name for name, _ in draft.headers), "Content-Type"]
    assert [name for name in names if name != "Content-Transfer-Encoding"] == expected


@given(DRAFTS)
@settings(max_examples=150)
def test_python_reads_back_what_was_given(draft: Draft) -> None:
    message = read(content_of(draft))
    assert message["Subject"] == draft.subject
    for subtype, given_text in (("plain", draft.text), ("html", draft.html)):
        if given_text:
            assert body(message, subtype) == as_lines(given_text)
    files = [(part.get_filename(), octets(part)) for part in message.iter_attachments()]
    assert files == [(file_name(attachment.name), attachment.content) for attachment in draft.attachments]
    values = [message.get_all(name) for name, _ in draft.headers]
    assert all(value in (found or []) for (_, value), found in zip(draft.headers, values, strict=True))


@given(DRAFTS)
@settings(max_examples=150)
def test_an_independent_parser_reads_back_what_was_given(draft: Draft) -> None:
    message = fast_mail_parser.parse_email(content_of(draft))
    assert [text.replace("\r\n", "\n") for text in message.text_plain] == [as_lines(draft.text or "")] * bool(
        draft.text
    )
    assert [text.replace("\r\n", "\n") for text in message.text_html] == [as_lines(draft.html or "")] * bool(draft.html)
    assert [file.content for file in message.attachments] == [file.content for file in draft.attachments]


@given(BODIES)
@example(".\n..\n.\r\n.")
@example("\n.\n")
@example("\r\r\n\n\r")
@example("--=_\n--=_mixed--\n")
@example("x" * 79)
@example("x" * 5000)
@example("trailing \t\n space ")
@example("From me\n>From you\n")
@example("=3D=\n=")
@example("漢字" * 400)
@example("\ufeffbyte order mark")
@example("form\x0cfeed \x0b \x1b[0m \x85 \u2028")
def test_any_text_survives_line_for_line(text: str) -> None:
    for draft in (Draft(to=(Mailbox("a@x"),), text=f"{text}|"), Draft(to=(Mailbox("a@x"),), text=f"{text}|", html="x")):
        content = content_of(draft)
        assert_fit_for_smtp(content, smtputf8=False)
        assert max(map(len, content.partition(b"\r\n\r\n")[2].split(b"\r\n"))) <= 78
        assert body(read(content), "plain") == as_lines(f"{text}|")


SHAPES = {
    ("text",): "plain",
    ("html",): "html",
    ("text", "html"): "alternative(plain, html)",
    ("inline",): "mixed(png)",
    ("text", "inline"): "mixed(plain, png)",
    ("html", "inline"): "related(html, png)",
    ("text", "html", "inline"): "alternative(plain, related(html, png))",
    ("file",): "mixed(pdf)",
    ("text", "file"): "mixed(plain, pdf)",
    ("html", "file"): "mixed(html, pdf)",
    ("text", "html", "file"): "mixed(alternative(plain, html), pdf)",
    ("inline", "file"): "mixed(png, pdf)",
    ("text", "inline", "file"): "mixed(plain, png, pdf)",
    ("html", "inline", "file"): "mixed(related(html, png), pdf)",
    ("text", "html", "inline", "file"): "mixed(alternative(plain, related(html, png)), pdf)",
}


@pytest.mark.parametrize("given_parts", [p for p in product([0, 1], repeat=4) if any(p)])
def test_the_tree_has_each_level_only_where_it_is_needed(given_parts: tuple[int, ...]) -> None:
    text, html, inline, file = given_parts
    draft = Draft(
        to=(Mailbox("a@x"),),
        text="T" if text else None,
        html="<img src='cid:logo'>" if html else "",
        attachments=(PNG,) * inline + (PDF,) * file,
    )
    names = ("text", "html", "inline", "file")
    key = tuple(name for name, present in zip(names, given_parts, strict=True) if present)
    assert shape(read(content_of(draft))) == SHAPES[key]


def test_the_header_section_is_written_in_order_and_as_given() -> None:
    draft = Draft(
        to=(Mailbox("a@x", "Ann"), Mailbox("b@x")),
        cc=(Mailbox("c@x"),),
        bcc=(Mailbox("d@x"),),
        subject="Hi",
        text="Hello",
        headers=(("X-One", "1"), ("X-Two", "2")),
    )
    assert content_of(draft, reply_to=Mailbox("r@x", "Re")) == (
        b"Date: Sun, 22 Nov 2026 17:04:05 +0000\r\n"
        b"From: Me <me@example.test>\r\n"
        b"To: Ann <a@x>, b@x\r\n"
        b"Cc: c@x\r\n"
        b"Reply-To: Re <r@x>\r\n"
        b"Subject: Hi\r\n"
        b"Message-ID: <id@example.test>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"X-One: 1\r\n"
        b"X-Two: 2\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hello\r\n"
    )


def test_without_a_subject_there_is_no_subject_field() -> None:
    assert "Subject" not in read(content_of(Draft(to=(Mailbox("a@x"),), text="x")))
    assert read(content_of(Draft(to=(Mailbox("a@x"),), text="x", subject="")))["Subject"] == ""


def test_the_same_arguments_give_the_same_bytes() -> None:
    draft = Draft(to=(Mailbox("a@x"),), text="x", html="y", attachments=(PNG, PDF))
    assert content_of(draft) == content_of(draft)


def test_a_local_part_beyond_ascii_is_written_in_utf_8() -> None:
    content = content_of(Draft(to=(Mailbox("jürgen@bücher.example", "Jürgen"),), subject="ü", text="ü"))
    assert "To: =?utf-8?q?J=C3=BCrgen?= <jürgen@xn--bcher-kva.example>\r\n".encode() in content
    assert [line for line in content.split(b"\r\n") if not line.isascii()] == [
        line for line in content.split(b"\r\n") if line.startswith(b"To:")
    ]


def test_an_inline_image_is_found_by_its_content_id() -> None:
    related = read(content_of(Draft(to=(Mailbox("a@x"),), html="<img src='cid:logo'>", attachments=(PNG,))))
    assert related.get_param("type") == "text/html"
    image = list(related.iter_parts())[1]
    assert isinstance(image, EmailMessage)
    assert (image["Content-ID"], image.get_content_disposition()) == ("<logo>", "inline")
    assert octets(image) == PNG.content


@pytest.mark.parametrize(
    ("attachment", "media_type"),
    [
        (Attachment("a.pdf", b""), "application/pdf"),
        (Attachment("A.PNG", b""), "image/png"),
        (Attachment("a.txt", b""), "text/plain"),
        (Attachment("a.unknown", b""), "application/octet-stream"),
        (Attachment("noextension", b""), "application/octet-stream"),
        (Attachment("a.tar.gz", b""), "application/octet-stream"),
        (Attachment("a.pdf", b"", ""), "application/pdf"),
        (Attachment("a.pdf", b"", "text/x-own"), "text/x-own"),
        (Attachment("a.eml", b""), "application/octet-stream"),
        (Attachment("a.eml", b"", "Message/RFC822"), "application/octet-stream"),
    ],
)
def test_a_content_type_is_taken_as_given_or_told_from_the_name(attachment: Attachment, media_type: str) -> None:
    (part,) = read(content_of(Draft(to=(Mailbox("a@x"),), attachments=(attachment,)))).iter_attachments()
    assert part.get_content_type() == media_type


def test_a_text_attachment_keeps_its_octets_and_its_charset() -> None:
    latin = Attachment("a.txt", b"caf\xe9\nbare\rbreaks\r\n", 'text/plain; charset=iso-8859-1; format="x y"')
    (part,) = read(content_of(Draft(to=(Mailbox("a@x"),), text="x", attachments=(latin,)))).iter_attachments()
    assert isinstance(part, EmailMessage)
    assert octets(part) == latin.content
    assert (part.get_content_charset(), part.get_param("format")) == ("iso-8859-1", "x y")


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        (r"C:\Users\me\a.txt", "a.txt"),
        ("C:a.txt", "a.txt"),
        ("../C:a.txt", "a.txt"),
        ("x/ A: B:", "attachment"),
        (r"\\host\share\a.txt", "a.txt"),
        ("dir/", "attachment"),
        ("..", "attachment"),
        ("a/..", "attachment"),
        (".", "attachment"),
        ("  a b.txt ", "a b.txt"),
        (".profile", ".profile"),
        ("Report: Q1.pdf", "Report: Q1.pdf"),
        ("naïve résumé.pdf", "naïve résumé.pdf"),
    ],
)
def test_a_file_name_is_the_last_component(name: str, last: str) -> None:
    assert file_name(name) == last


@given(HEADER_TEXT)
@example("A:")
def test_no_path_reaches_the_wire(name: str) -> None:
    last = file_name(f"../{name}")
    assert last
    assert not re.search(r"[/\\]|^\.{1,2}$", last)
    assert file_name(last) == last


@pytest.mark.parametrize(
    "draft",
    [
        Draft(to=(Mailbox("a@x", "J\r\nBcc: b@x"),), text="x"),
        Draft(to=(Mailbox("a@x"),), subject="s\r\nBcc: b@x", text="x"),
        Draft(to=(Mailbox("a@x"),), headers=(("X-A: b\r\nBcc", "b@x"),), text="x"),
        Draft(to=(Mailbox("a@x"),), headers=(("X-A", "b\n\nbody"),), text="x"),
        Draft(to=(Mailbox("a@x"),), attachments=(Attachment("a", b"", "text/x\r\nBcc: b@x"),)),
        Draft(to=(Mailbox("a@x"),), html="x", attachments=(Attachment("a", b"", None, "c>\r\nBcc: b@x"),)),
    ],
)
def test_a_draft_that_was_never_checked_cannot_inject_a_field(draft: Draft) -> None:
    try:
        content = content_of(draft)
    except ValueError:
        return
    assert b"\nBcc" not in content
    assert b"\n\nbody" not in content


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(0)), timezone(timedelta(hours=-3.5))])))
def test_the_date_is_the_one_that_the_standard_library_writes(date: datetime) -> None:
    content = compose(Draft(text="x"), sender=SENDER, reply_to=None, message_id="<id@x>", date=date)
    assert content.startswith(f"Date: {format_datetime(date)}\r\n".encode())

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from uuid import UUID

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.access.policy import ServiceScope
from app.database.connection import execute
from app.database.key import new_key
from app.errors import NotFound
from app.inbox.read import CapturedPart, ReadMail, find_capture, first_fields, list_captures, read_capture, take_apart
from app.mail.address import Mailbox
from app.mail.check import check_draft
from app.mail.compose import compose
from app.mail.draft import Attachment, Draft, DraftLimits
from app.services.models import Service
from tests.factories import make_service

MOMENT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SENDER = Mailbox("me@example.test", "Me")

EVERY_SERVICE = ServiceScope(True, frozenset())
NO_SERVICE = ServiceScope(False, frozenset())

CRLF = "\r\n"
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), max_size=200)
FILES = st.builds(
    Attachment,
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=40),
    st.binary(max_size=200),
    st.sampled_from(["image/png", "text/plain", "text/html", "application/pdf"]),
    st.none() | st.just("logo"),
)
DRAFTS = st.builds(
    Draft,
    to=st.just((Mailbox("a@example.test"),)),
    subject=TEXTS,
    text=TEXTS,
    html=TEXTS,
    attachments=st.lists(FILES, max_size=3).map(tuple),
).filter(lambda draft: not check_draft(draft, DraftLimits()))

# What mails are made of, put together in no good order.
SHREDS = st.sampled_from(
    rb"""Subject: |From: |To: |Date: |Content-ID: <|(|<|;|"|===|--b--
|--b
|
|

|Content-Type: text/plain|Content-Type: text/html|Content-Type: multipart/mixed; boundary=b
|Content-Type: message/rfc822|Content-Type: message/delivery-status|Content-Disposition: attachment
|Content-Transfer-Encoding: base64
|Content-Transfer-Encoding: x-uuencode
|; boundary*=|; charset=|; charset*=|; filename*0*=|; filename*=|; filename="|; name*1*=|; name*=
|utf-7|idna|undefined|unicode_escape|hex|utf-8''%ff|idna'x'%ff|=?idna?b?/w==?=|=?utf-8?q?=ff?=|+2AA-|\ud800
|begin 666 x
$$$
end|\0|\377""".replace(rb"\0", b"\x00")
    .replace(rb"\377", b"\xff")
    .split(b"|")
)


def content_of(draft: Draft, sender: Mailbox = SENDER) -> bytes:
    return compose(draft, sender=sender, reply_to=None, message_id="<id@example.test>", date=MOMENT)


def parts_of(mail: ReadMail) -> list[tuple[str | None, str, str | None, bytes]]:
    return [(part.name, part.content_type, part.content_id, part.octets) for part in mail.parts]


def same_text(read: str | None, written: str | None) -> bool:
    """Lines end in CRLF on the way, and the last one always does."""
    return (read or "").replace(CRLF, "\n").removesuffix("\n") == (written or "").removesuffix("\n")


@given(draft=DRAFTS)
def test_what_was_composed_is_read_back(draft: Draft) -> None:
    mail = take_apart(content_of(draft))
    assert same_text(mail.text, draft.text)
    assert same_text(mail.html, draft.html)
    expected = [(file.name, file.content_type, file.content_id, file.content) for file in draft.attachments]
    assert sorted(parts_of(mail), key=repr) == sorted(expected, key=repr)
    assert mail.source.encode() == content_of(draft)
    assert first_fields(content_of(draft), "Subject") == [dict(mail.headers).get("Subject")]


def test_header_fields_come_decoded_and_in_their_order() -> None:
    mail = take_apart(
        b"Received: from a\r\n by b\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        b"From: =?utf-8?b?TcO8bGxlciwgSg==?= <j@example.test>\r\nreceived: 2\r\n\r\n"
    )
    assert mail.headers == [
        ("Received", "from a by b"),
        ("Subject", "Grüße"),
        ("From", '"Müller, J" <j@example.test>'),
        ("received", "2"),
    ]


def test_header_fields_in_utf_8_are_read_as_such() -> None:
    draft = Draft(to=(Mailbox("用户@example.test"),), text="x")
    content = content_of(draft, Mailbox("jürgen@example.test"))
    assert first_fields(content, "From", "To", "Cc") == ["jürgen@example.test", "用户@example.test", None]
    assert dict(take_apart(content).headers)["From"] == "jürgen@example.test"


def test_the_first_of_several_fields_of_a_name_counts_and_the_body_does_not() -> None:
    assert first_fields(b"Subject: a\r\nsubject: b\r\n\r\nFrom: c\r\n", "Subject", "From") == ["a", None]


def test_an_attached_mail_stays_whole_and_its_text_is_not_the_mails() -> None:
    inner = b"Subject: inner\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\ninner text\r\n--i--\r\n"
    outer = (
        b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n%s\r\n--o--\r\n"
    )
    mail = take_apart(outer % inner)
    assert (mail.text, mail.html) == (None, None)
    assert mail.parts == [CapturedPart(None, "message/rfc822", None, inner)]


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [(b"base64", b"U3ViamVjdDogaQ0KDQpo4Q=="), (b"quoted-printable", b"Subject: i\r\n\r\nh=E1")],
)
def test_an_attached_mail_is_decoded_although_it_ought_not_be_encoded(encoding: bytes, encoded: bytes) -> None:
    header = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: %s\r\n\r\n" % encoding
    assert [part.octets.strip() for part in take_apart(header + encoded).parts] == [b"Subject: i\r\n\r\nh\xe1"]


def test_a_text_with_a_file_name_is_an_attachment_and_a_second_text_is_not_lost() -> None:
    message = EmailMessage()
    message.set_content("first\n")
    message.add_attachment("file\n", filename="a.txt", disposition="inline")
    message.add_attachment("second\n", disposition="inline")
    mail = take_apart(message.as_bytes())
    assert mail.text == "first\n"
    assert [(part.name, part.octets) for part in mail.parts] == [("a.txt", b"file\n"), (None, b"second\n")]


def test_the_root_of_a_related_part_is_shown_although_it_has_a_content_id() -> None:
    mail = take_apart(b"Content-Type: text/html\r\nContent-ID: <root@x>\r\n\r\n<p>hi</p>")
    assert (mail.html, mail.parts) == ("<p>hi</p>", [])


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        ("iso-8859-1", b"gr\xfc\xdfe", "grüße"),
        ("utf-8", b"\xff", "\ufffd"),
        ("no-such", "ü".encode(), "ü"),
        ("idna", "ü".encode(), "ü"),
        ("undefined", "ü".encode(), "ü"),
        ("hex", "ü".encode(), "ü"),
        ("utf-7", b"+2AA-", "?"),
        ("us-ascii", b"a\x00b", "a\ufffdb"),
    ],
)
def test_a_text_is_decoded_as_well_as_its_charset_allows(charset: str, octets: bytes, text: str) -> None:
    assert take_apart(b"Content-Type: text/plain; charset=%s\r\n\r\n%s" % (charset.encode(), octets)).text == text


@given(shreds=st.lists(SHREDS, max_size=30))
@example(shreds=[b"Content-Type: multipart/mixed; boundary*=undefined''x\r\n\r\n"])
@example(shreds=[b"Content-Type: text/plain; charset*1*=a; charset*=b\r\n\r\n"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the codec unicode_escape
def test_no_mail_is_too_broken_to_be_shown(shreds: Sequence[bytes]) -> None:
    octets = b"".join(shreds)
    mail = take_apart(octets)
    fields = first_fields(octets, "Subject", "From", "Message-ID")
    parts = [(part.name, part.content_type, part.content_id) for part in mail.parts]
    assert b"\\u0000" not in orjson.dumps([mail.headers, mail.text, mail.html, mail.source, parts, fields])


@pytest.mark.parametrize("content_type", [b"multipart/mixed; boundary=b%d", b"message/rfc822; x=%d"])
def test_a_mail_nested_without_end_is_shown_in_its_source(content_type: bytes) -> None:
    octets = b"".join(b"Content-Type: %s\r\n\r\n--b%d\r\n" % (content_type % n, n) for n in range(1000))
    mail = take_apart(octets)
    assert len(mail.parts) == 1
    assert mail.source.encode() == octets


async def capture(service: Service, subject: str | None = None, octets: bytes = b"\r\n") -> UUID:
    key = new_key()
    await execute(
        "INSERT INTO captured_mail (id, service_id, received_at, reverse_path, recipients, sender, subject,"
        " size_bytes, octets) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(key, service.id, MOMENT, "me@example.test", json.dumps(["a@x", "ü@x"]), None, subject, len(octets), octets),
    )
    return key


@pytest.mark.usefixtures("database")
async def test_a_stored_mail_is_found_with_everything_but_its_content() -> None:
    service = await make_service("one")
    key = await capture(service, "Grüße", b"Subject: x\r\n\r\nhello")
    found = await find_capture(key, EVERY_SERVICE)
    assert found is not None
    assert (found.id, found.service_id, found.received_at) == (key, service.id, MOMENT)
    assert (found.reverse_path, found.recipients) == ("me@example.test", ["a@x", "ü@x"])
    assert (found.sender, found.subject, found.size_bytes) == (None, "Grüße", 19)
    assert (await read_capture(key)).text == "hello"


@pytest.mark.usefixtures("database")
async def test_the_list_is_newest_first_in_pages() -> None:
    service = await make_service("one")
    keys = [await capture(service) for _ in range(5)]
    first = await list_captures(EVERY_SERVICE, after=None, limit=2)
    then = await list_captures(EVERY_SERVICE, after=first[-1].id, limit=9)
    assert [row.id for row in first + then] == keys[::-1]


@pytest.mark.usefixtures("database")
async def test_only_mail_of_services_in_the_scope_is_seen() -> None:
    one, two = await make_service("one"), await make_service("two")
    first, second = await capture(one), await capture(two)
    for scope, seen in (
        (EVERY_SERVICE, [second, first]),
        (ServiceScope(False, frozenset({one.id})), [first]),
        (ServiceScope(True, frozenset({one.id})), [second]),
        (NO_SERVICE, []),
    ):
        assert [row.id for row in await list_captures(scope, after=None, limit=9)] == seen
        assert [key for key in (second, first) if await find_capture(key, scope)] == seen


@pytest.mark.usefixtures("sqlite_database")
async def test_a_mail_that_is_not_there_or_no_more_is_not_found() -> None:
    assert await find_capture(new_key(), EVERY_SERVICE) is None
    with pytest.raises(NotFound, match="purged"):
        await read_capture(new_key())


@pytest.mark.usefixtures("sqlite_database")
async def test_the_mail_of_a_deleted_service_is_deleted_with_it() -> None:
    service = await make_service("one")
    key = await capture(service)
    await service.delete()
    assert await find_capture(key, EVERY_SERVICE) is None
    assert (await list_captures(EVERY_SERVICE, after=None, limit=1)) == []

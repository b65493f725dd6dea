import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import fast_mail_parser
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.mail.address import Mailbox
from app.mail.header import (
    _TOKEN,
    _field,
    _list_tokens,
    _must_be_encoded,
    address_field,
    author_field,
    structured_field,
    unstructured_field,
)

HEADER_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=300)
FIELD_NAMES = st.from_regex(r"X-[A-Za-z0-9-]{1,74}", fullmatch=True)


def read(field: str) -> EmailMessage:
    message = message_from_bytes(field.encode() + b"\r\n", policy=default)
    assert isinstance(message, EmailMessage)
    return message


def lines(field: str) -> list[str]:
    assert field.endswith("\r\n")
    assert field.replace("\r\n", "").isprintable()
    return field.removesuffix("\r\n").split("\r\n")


@given(FIELD_NAMES, HEADER_TEXT)
@example("X-A", " ")
@example("X-A", "a  b ")
@example("X-A", "=?utf-8?q?posing?=")
@example("X-A", "a=?utf-8?b?eA==?=b")
@example("X-A", "é" * 200)
@example("X-A", "👨‍👩‍👧" * 60)
@example("X-A", "a" * 990)
def test_text_comes_back_exactly(name: str, value: str) -> None:
    field = unstructured_field(name, value)
    assert read(field)[name] == value
    assert field.isascii()
    assert all(line.strip() for line in lines(field))
    assert all(len(line) <= 998 for line in lines(field))


@given(HEADER_TEXT.filter(lambda value: not value.isascii()))
def test_encoded_words_keep_to_lines_of_76(value: str) -> None:
    assert all(len(line) <= 76 for line in lines(unstructured_field("Subject", value)))


@given(st.lists(st.from_regex(r"[a-z]{1,40}", fullmatch=True)))
def test_ascii_words_keep_to_lines_of_78(words: list[str]) -> None:
    field = unstructured_field("Subject", " ".join(words))
    assert all(len(line) <= 78 for line in lines(field))
    assert field.replace("\r\n", "") == f"Subject: {' '.join(words)}".rstrip(" ")


@pytest.mark.parametrize(
    "value",
    ["<https://lists.example.test/unsubscribe/" + "x" * 400 + ">", "<" + "i" * 80 + "@example.test>", "a" * 990],
)
def test_a_long_ascii_token_is_never_encoded(value: str) -> None:
    assert unstructured_field("X-Long", value) == f"X-Long: {value}\r\n"


def test_a_token_that_fits_no_line_is_encoded() -> None:
    field = unstructured_field("X-Long", "a" * 2000)
    assert max(map(len, lines(field))) <= 76
    assert read(field)["X-Long"] == "a" * 2000


NAMES = st.lists(HEADER_TEXT.filter(lambda name: not name.isspace()), min_size=1, max_size=5)


@given(NAMES)
@example(["a  b", "é  é", " lead", "trail "])
@example(['"', "\\", 'a"b\\c', "(comment)", "a, b; c <d@e>"])
@example(["Jane A. Doe", "J.D.", "Doe, Jane", "o'Neil", "jane@x"])
@example(["=?utf-8?q?posing?=", "é" * 120, "漢" * 180, "🎉" * 180, "a" * 256])
@example(["🎉" * 256])
def test_display_names_come_back_exactly(names: list[str]) -> None:
    field = address_field("To", [Mailbox(f"user{number}@x", name) for number, name in enumerate(names)])
    assert field.isascii()
    assert all(len(line) <= 998 for line in lines(field))
    found = fast_mail_parser.parse_email(f"{field}\r\n").to
    assert [one.address for one in found] == [f"user{number}@x" for number in range(len(names))]
    assert [(one.display_name or "").rstrip() for one in found] == [name.rstrip() for name in names]


@given(NAMES.map(lambda names: [name[:180] for name in names]))
@example(["a  b", "é " * 90, "é" * 180, "漢字" * 90, "🎉" * 180, "a" * 256])
def test_python_reads_display_names_back(names: list[str]) -> None:
    """It gives a run of spaces in an encoded-word back as one space, so runs are compared as one."""
    field = address_field("To", [Mailbox(f"user{number}@x", name) for number, name in enumerate(names)])
    found = [re.sub(" +", " ", address.display_name) for address in read(field)["To"].addresses]
    assert found == [re.sub(" +", " ", name) if name.strip() else "" for name in names]


@pytest.mark.parametrize(
    ("mailbox", "written"),
    [
        (Mailbox("a@x"), "a@x"),
        (Mailbox("a@x", ""), "a@x"),
        (Mailbox("a@x", "Jane Doe"), "Jane Doe <a@x>"),
        (Mailbox("a@x", "Doe, Jane"), '"Doe, Jane" <a@x>'),
        (Mailbox("a@x", 'J "D"'), r'"J \"D\"" <a@x>'),
        (Mailbox("a@x", "Jané"), "=?utf-8?b?SmFuw6k=?= <a@x>"),
        (Mailbox("a@x", "漢字"), "=?utf-8?b?5ryi5a2X?= <a@x>"),
        (Mailbox("a@Bücher.example", "B"), "B <a@xn--bcher-kva.example>"),
        (Mailbox('"a b"@x', "B"), 'B <"a b"@x>'),
        (Mailbox("jürgen@x", "Jürgen"), "=?utf-8?q?J=C3=BCrgen?= <jürgen@x>"),
    ],
)
def test_a_mailbox_is_written_as_rfc_5322_has_it(mailbox: Mailbox, written: str) -> None:
    assert address_field("To", [mailbox]) == f"To: {written}\r\n"


def test_a_long_list_is_folded_between_mailboxes() -> None:
    field = address_field("To", [Mailbox(f"user{number}@example.test", f"User {number}") for number in range(1000)])
    assert max(map(len, lines(field))) <= 78
    assert len(read(field)["To"].addresses) == 1000


@given(HEADER_TEXT.map(str.strip).filter(bool))
@example('quote".txt')
@example("back\\slash.txt")
@example("per%20cent's.txt")
@example("=?utf-8?q?=2E=2E=2Fx?=.txt")
@example("漢" * 256)
@example("x" * 256)
@example("x" * 55 + "é")
def test_parameters_come_back_exactly(name: str) -> None:
    field = structured_field("Content-Disposition", "attachment", {"filename": name})
    assert read(field).get_filename() == name
    assert field.isascii()
    assert all(len(line) <= 78 for line in lines(field))


@given(
    st.sampled_from(["X", "Message-ID", "X-" + "a" * 74, "X Y", "X-é"]),
    HEADER_TEXT | st.text("ab =?é", max_size=90),
)
@example("Subject", "a" * 69)
@example("Subject", "a" * 70)
@example("X", "")
@example("X", " a")
@example("X", "a  b ")
def test_what_stands_on_one_line_is_what_folding_gives(name: str, value: str) -> None:
    assert structured_field(name, value) == _field(name, _TOKEN.findall(f" {value}"))
    if not _must_be_encoded(value):
        assert unstructured_field(name, value) == _field(name, _TOKEN.findall(f" {value}"))


@pytest.mark.parametrize("value", ["a\r\nBcc: b@x", "a\nb", "a\rb", "a\x00b", "a\x0bb", "a\x85b"])
def test_no_control_character_is_ever_written_into_a_header(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        structured_field("Message-ID", value)
    with pytest.raises(ValueError, match="control character"):
        structured_field(f"X-{value}", "v")


@given(
    st.sampled_from(["From", "Reply-To", "To", "X-" + "a" * 60]),
    st.sampled_from(["a@x", "A.B+c@Example.COM", "ü@bücher.example", '"a  b"@x', f"{'a' * 64}@{'b' * 20}.example"]),
    st.none() | HEADER_TEXT | st.text("ab !#=?_-.", max_size=60) | st.sampled_from(["", " ", "=?utf-8?q?x?=", "A  B"]),
)
@example("To", "a@x", "a" * 67)
@example("To", "a@x", "a" * 68)
def test_one_mailbox_is_written_as_a_list_of_one_is(field: str, email: str, name: str | None) -> None:
    mailbox = Mailbox(email, name)
    written = _field(field, _list_tokens([mailbox]))
    assert address_field(field, [mailbox]) == written
    assert author_field(field, mailbox) == written


@pytest.mark.parametrize("value", ["a\r\nBcc: b@x", "a\x00b", "a\x7fb"])
def test_no_control_character_is_written_into_the_field_of_a_mailbox(value: str) -> None:
    for field, mailbox in (("To", Mailbox("a@x", value)), ("To", Mailbox(value)), (value, Mailbox("a@x"))):
        with pytest.raises(ValueError, match="control character"):
            address_field(field, [mailbox])

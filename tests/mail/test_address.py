import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import ErrorCode
from app.mail.address import (
    _COMMON,
    Mailbox,
    _problem,
    _wire_domain,
    check_email,
    check_name,
    mailbox_key,
    needs_smtputf8,
    parse_mailboxes,
    wire_address,
)

LABEL_63 = "d" * 63
DOMAIN_189 = ".".join([LABEL_63, LABEL_63, "d" * 61])


@pytest.mark.parametrize(
    ("text", "mailboxes"),
    [
        ("a@x", [("a@x", None)]),
        ("  a@x\t", [("a@x", None)]),
        ("Name <a@x>", [("a@x", "Name")]),
        ("Anna Lena Müller <a@x>", [("a@x", "Anna Lena Müller")]),
        ("<a@x>", [("a@x", None)]),
        ("< a@x >", [("a@x", None)]),
        ('"Doe, Jane" <j@x>', [("j@x", "Doe, Jane")]),
        (r'"Jane \"JD\" Doe" <j@x>', [("j@x", 'Jane "JD" Doe')]),
        (r'"a\\b" <j@x>', [("j@x", r"a\b")]),
        ('"" <a@x>', [("a@x", None)]),
        ('"Jane" Doe <a@x>', [("a@x", "Jane Doe")]),
        ("a@x, b@x", [("a@x", None), ("b@x", None)]),
        ("a@x;b@x", [("a@x", None), ("b@x", None)]),
        ("a@x,, ;b@x,", [("a@x", None), ("b@x", None)]),
        ("A <a@x>; B <b@x>, c@x", [("a@x", "A"), ("b@x", "B"), ("c@x", None)]),
        ("a@x (Jane, D; E)", [("a@x", "Jane, D; E")]),
        (r"a@x (a (nested\)) one)", [("a@x", "a (nested)) one")]),
        ("<a@x> (Jane)", [("a@x", "Jane")]),
        ("Jane <a@x> (at work)", [("a@x", "Jane")]),
        ("(home) a@x", [("a@x", None)]),
        ("Jane (work) <a@x>", [("a@x", "Jane (work)")]),
        ('"a, b"@x', [('"a, b"@x', None)]),
        ('J <"a>,b"@x>', [('"a>,b"@x', "J")]),
        ("a@b <c@x>", [("c@x", "a@b")]),
        ("a@[IPv6:2001:db8::1], b@x", [("a@[IPv6:2001:db8::1]", None), ("b@x", None)]),
        ("", []),
        (" , ;\t", []),
    ],
)
def test_mailboxes_are_parsed(text: str, mailboxes: list[tuple[str, str | None]]) -> None:
    assert parse_mailboxes(text) == tuple(Mailbox(email, name) for email, name in mailboxes)


@pytest.mark.parametrize(
    "text",
    [
        'O"Brien <a@x>, b@x',
        "Smile :( <a@x>",
        "Jane <a@x",
        "<a@x> Jane",
        "<a@x> <b@x>",
        "(only a comment)",
        "undisclosed-recipients:",
        "Jane Doe",
        "a@x b@x",
        "a@x\r\nBcc: b@x",
        "a(c)@x",
        "mailto:a@x y",
        "<@relay:a@x",
    ],
)
def test_what_is_no_mailbox_stays_whole_and_is_refused_by_its_own_text(text: str) -> None:
    (mailbox,) = parse_mailboxes(text)
    assert mailbox == Mailbox(text)
    problem = check_email(mailbox.email)
    assert problem is not None
    assert problem.code is ErrorCode.INVALID_EMAIL


def test_empty_angle_brackets_are_an_empty_address() -> None:
    assert parse_mailboxes("Jane <>") == (Mailbox("", "Jane"),)


@given(st.text(alphabet=st.characters(exclude_characters='"()<>,;')), st.sampled_from(",;"))
def test_without_quotes_comments_and_brackets_no_character_is_lost(text: str, separator: str) -> None:
    emails = [mailbox.email for mailbox in parse_mailboxes(f"{text}{separator}{text}")]
    assert emails == [text.strip(" \t")] * 2 if text.strip(" \t") else emails == []


@given(st.text(alphabet='ab@x."()<>,;\\ \t\n', max_size=40))
@example('"' * 20)
@example("(" * 20)
def test_an_email_is_always_a_run_of_the_text(text: str) -> None:
    for mailbox in parse_mailboxes(text):
        assert mailbox.email in text
        assert mailbox.email == mailbox.email.strip(" \t")


@given(st.text(alphabet='ab@x."()<>,;\\ \t', max_size=40))
def test_every_separator_outside_quotes_comments_and_brackets_splits(text: str) -> None:
    assert parse_mailboxes(f"one@x,{text}")[:1] == (Mailbox("one@x"),)
    assert parse_mailboxes(f"one@x;{text}")[1:] == parse_mailboxes(text)


NAMES = st.text(st.characters(exclude_categories=["Cs"])).map(lambda name: name.strip(" \t"))
EMAILS = st.from_regex(r"[a-z]{1,9}@[a-z]{1,9}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, EMAILS)))
def test_quoted_names_come_back_exactly(pairs: list[tuple[str, str]]) -> None:
    quoted = [(name.replace("\\", "\\\\").replace('"', '\\"'), email) for name, email in pairs]
    text = ", ".join(f'"{name}" <{email}>' for name, email in quoted)
    assert parse_mailboxes(text) == tuple(Mailbox(email, name or None) for name, email in pairs)


VALID = [
    "a@x",
    "a@localhost",
    "user@example.test",
    "first.last+tag@example.com",
    "!#$%&'*+/=?^_`{|}~-@example.com",
    '"a b"@example.com',
    '"a@b"@example.com',
    r'"a\"b\\"@example.com',
    '""@example.com',
    "a@192-0-2-1.example",
    "a@under_score.example",
    "a@_dmarc.example",
    "a@[192.0.2.1]",
    "a@[IPv6:2001:db8::1]",
    "a@[ipv6:::ffff:192.0.2.1]",
    "a@bücher.example",
    "a@BÜCHER.example",
    "a@例え.テスト",
    "a@xn--bcher-kva.example",
    "jürgen@example.com",
    "用户@例え.テスト",
    '"jü rgen"@example.com',
    "l" * 64 + "@x",
    "ü" * 32 + "@x",
    "l" * 64 + "@" + DOMAIN_189,
    "a@" + LABEL_63,
]


@pytest.mark.parametrize("email", VALID)
def test_a_valid_address_passes_and_has_a_wire_form(email: str) -> None:
    assert check_email(email) is None
    wire = wire_address(email)
    assert wire.rpartition("@")[2].isascii()
    assert wire.rpartition("@")[0] == email.rpartition("@")[0]


@pytest.mark.parametrize(
    "email",
    [
        "",
        "@",
        "a",
        "a@",
        "@x",
        "a@@x",
        "a b@x",
        " a@x",
        "a@x ",
        ".a@x",
        "a.@x",
        "a..b@x",
        '"a@x',
        'a"b"@x',
        '"a"b@x',
        '"a\tb"@x',
        '"a"b"@x',
        "a@x.",
        "a@.x",
        "a@x..y",
        "a@-x",
        "a@x-",
        "a@x,b@y",
        "a@x y",
        "a@ex!ample",
        "a@(c)x",
        "<a@x>",
        "a@[192.0.2.256]",
        "a@[192.0.2]",
        "a@[192.0.2.1",
        "a@[IPv6:zz]",
        "a@[IPv6:fe80::1%eth0]",
        "a@[example.com]",
        "a@[]",
        "=?utf-8?q?a=40b?=@x",
        "a=?utf-8?b?YQ==?=@x",
        '"=?utf-8?q?a?="@x',
        "a@x\r\nBcc: b@y",
        "a@x\n",
        "a\x00@x",
        "a\x7f@x",
        "a\x85@x",
        "a\u2028@x",
        "a\u00a0b@x",
        "\ud800@x",
        "a@\ud800",
        "a@\x00",
        "a@ex\u200bample.com",
        "a@ex\u00adample.com",
        "a@\u2615.example",
        "a@bü_cher.example",
        "a@bücher..example",
        "a@\uff20x",
        "l" * 65 + "@x",
        "ü" * 33 + "@x",
        "l" * 64 + "@" + DOMAIN_189 + "d",
        "a@" + LABEL_63 + "d",
        "a@" + ".".join(["d" * 50] * 6),
        "a@" + "ü" * 64,
        "a@" + "ü" * 300,
    ],
)
def test_an_invalid_address_is_refused(email: str) -> None:
    problem = check_email(email)
    assert problem is not None
    assert (problem.code, problem.field, problem.retryable) == (ErrorCode.INVALID_EMAIL, ("email",), False)


def test_a_refused_address_is_shown_escaped_and_cut() -> None:
    problem = check_email("a\r\n\x00\ud800 é@")
    assert problem is not None
    assert problem.message == r"Invalid email - 'a\r\n\x00\ud800 é@'."
    long = check_email("x" * 5000)
    assert long is not None
    assert long.message == f"Invalid email - '{'x' * 100}'."


@given(st.text(max_size=30), st.text(max_size=30))
def test_checks_agree_with_the_wire(local_part: str, domain: str) -> None:
    email = f"{local_part}@{domain}"
    if check_email(email) is not None:
        return
    wire = wire_address(email)
    assert re.fullmatch(r"[a-z0-9_.-]+|\[[0-9A-Fa-fIPvp:.]+\]", wire.rpartition("@")[2])
    assert len(wire.encode()) <= 254
    assert check_email(wire) is None
    assert wire_address(wire) == wire
    assert mailbox_key(wire) == mailbox_key(email)


@given(st.text(alphabet=st.characters(min_codepoint=0xA1, exclude_categories=["Cs"]), min_size=1, max_size=8))
@example("ß")
@example("ﬀ")
@example("İ")
def test_an_international_domain_that_passes_is_sent_as_one_domain(label: str) -> None:
    email = f"a@{label}.example"
    if check_email(email) is None:
        assert re.fullmatch(r"a@[a-z0-9_.-]+\.example", wire_address(email))


@pytest.mark.parametrize(
    ("email", "wire"),
    [
        ("A.B@EXAMPLE.com", "A.B@example.com"),
        ("a@Bücher.Example", "a@xn--bcher-kva.example"),
        ("a@straße.example", "a@xn--strae-oqa.example"),
        ("a@例え。テスト", "a@xn--r8jz45g.xn--zckzah"),
        ("Jürgen@EXAMPLE.com", "Jürgen@example.com"),
        ("a@Under_Score.example", "a@under_score.example"),
        ("a@[IPv6:2001:DB8::1]", "a@[IPv6:2001:DB8::1]"),
    ],
)
def test_the_wire_form_has_a_labels_and_the_local_part_untouched(email: str, wire: str) -> None:
    assert wire_address(email) == wire


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a@x", "a@X", True),
        ("a@bücher.example", "a@XN--BCHER-KVA.example", True),
        ("a@[IPv6:2001:db8::1]", "a@[ipv6:2001:DB8::1]", True),
        ("a@x", "A@x", False),
        ("a@x", "a@y", False),
        ("a+1@x", "a@x", False),
    ],
)
def test_a_mailbox_is_the_same_whatever_the_case_of_its_domain(one: str, other: str, same: bool) -> None:
    assert (mailbox_key(one) == mailbox_key(other)) is same


@pytest.mark.parametrize(("email", "needed"), [("a@x", False), ("a@bücher.example", False), ("ä@x", True)])
def test_smtputf8_is_needed_for_the_local_part_only(email: str, needed: bool) -> None:
    assert needs_smtputf8(email) is needed


@pytest.mark.parametrize("char", ["\r", "\n", "\x00", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\udc80"])
def test_a_display_name_with_a_control_character_is_refused(char: str) -> None:
    problem = check_name(f"Jane{char}Doe")
    assert problem is not None
    assert (problem.code, problem.field) == (ErrorCode.INVALID_INPUT, ("name",))
    assert f"U+{ord(char):04X}" in problem.message


@pytest.mark.parametrize("name", [None, "", "Jane", "Jané “JD” Döe 🎉", 'a"b\\c,;<>()'])
def test_any_other_display_name_passes(name: str | None) -> None:
    assert check_name(name) is None


PARTS = st.text("aZ09_+-.", max_size=12) | st.sampled_from(["a" * 31, "a" * 62, "a" * 63, "a" * 64, "a" * 65, "-", ""])


@given(st.lists(PARTS, min_size=1, max_size=3).map(".".join), st.lists(PARTS, min_size=1, max_size=3).map(".".join))
@example("ada", "example.com")
@example("a" * 64, "b")
@example("a", "b" * 62)
@example("a", "b" * 63)
@example("a", "b" * 64)
@example("a", "b--c-.example")
def test_the_one_look_at_an_address_agrees_with_taking_it_apart(local_part: str, domain: str) -> None:
    for email in (f"{local_part}@{domain}", f"{local_part}@{domain.lower()}"):
        problem = _problem(email)
        assert check_email(email) == problem
        if problem is None:
            assert wire_address(email) == f"{local_part}@{_wire_domain(email.rpartition('@')[2])}"


@pytest.mark.parametrize("email", ["ada@example.com", "first.last+tag@mail.some-company.example.com", "m_1@x"])
def test_a_usual_address_is_told_at_one_look(email: str) -> None:
    assert _COMMON.fullmatch(email)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.characters import unstorable
from app.mail.reply import Reply, Severity


@pytest.mark.parametrize(
    ("code", "text", "reply"),
    [
        (250, "2.0.0 Ok: queued as 1A2B", Reply(250, "Ok: queued as 1A2B", "2.0.0")),
        (250, "Ok", Reply(250, "Ok")),
        (250, "", Reply(250, "")),
        (550, "5.1.1 <a@x>: unknown", Reply(550, "<a@x>: unknown", "5.1.1")),
        (550, "5.1.1", Reply(550, "", "5.1.1")),
        (550, "5.1.1 one\n5.1.1 two\n5.1.1", Reply(550, "one\ntwo", "5.1.1")),
        (550, "5.1.1 one\r\n5.1.1 two", Reply(550, "one\ntwo", "5.1.1")),
        (550, "5.1.1 see\n5.7.1 is not this", Reply(550, "see\n5.7.1 is not this", "5.1.1")),
        (550, "5.01.001 padded\n5.01.001 twice", Reply(550, "padded\ntwice", "5.1.1")),
        (550, "4.2.1 of another class", Reply(550, "4.2.1 of another class")),
        (354, "End data with <CR><LF>.<CR><LF>", Reply(354, "End data with <CR><LF>.<CR><LF>")),
        (550, "5.1.1234 no code", Reply(550, "5.1.1234 no code")),
        (550, "5.1.1: no space", Reply(550, "5.1.1: no space")),
        (550, "5.\u0661.1 other digits", Reply(550, "5.\u0661.1 other digits")),
        (451, "  4.7.1 leading space", Reply(451, "4.7.1 leading space")),
    ],
)
def test_a_reply_is_split_into_its_parts(code: int, text: str, reply: Reply) -> None:
    assert Reply.parse(code, text) == reply


@pytest.mark.parametrize(
    ("code", "severity"),
    [
        (220, Severity.POSITIVE),
        (250, Severity.POSITIVE),
        (354, Severity.POSITIVE),
        (399, Severity.POSITIVE),
        (400, Severity.TRANSIENT),
        (499, Severity.TRANSIENT),
        (500, Severity.PERMANENT),
        (599, Severity.PERMANENT),
        (199, Severity.TRANSIENT),
        (600, Severity.TRANSIENT),
        (-1, Severity.TRANSIENT),
    ],
)
def test_the_first_digit_is_the_verdict(code: int, severity: Severity) -> None:
    assert Reply(code, "").severity is severity


def test_a_reply_reads_as_a_line() -> None:
    assert str(Reply(550, "no such user", "5.1.1")) == "550 5.1.1 no such user"
    assert str(Reply(421, "")) == "421"


def test_what_cannot_be_stored_is_replaced() -> None:
    text = b"5.1.1 caf\xe9 \x00 \x1b[31m".decode("utf-8", "surrogateescape")
    assert Reply.parse(550, text) == Reply(550, "caf\ufffd \ufffd \ufffd[31m", "5.1.1")


@given(st.integers(0, 999), st.binary())
def test_any_octets_a_server_sends_make_a_reply_that_can_be_stored(code: int, octets: bytes) -> None:
    reply = Reply.parse(code, octets.decode("utf-8", "surrogateescape"))
    assert unstorable(reply.text) is None
    assert "\r" not in reply.text
    assert reply.text.encode().decode() == reply.text

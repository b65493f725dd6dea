"""Who is ruled out, and what no command may hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.envelope import Envelope
from app.smtp.commands import mail_command, needs_smtputf8, ruled_out
from app.smtp.content import Content
from app.smtp.protocol import Protocol

CONTENT = Content(b"Subject: x\r\n\r\nhello\r\n", is_well_formed=True)
ADDRESSES = st.sampled_from(
    ["a@b.example", "", "\u00fc@b.example", "a b@c.example", '"a b"@c.example', "a<b@c", "a\r@b"]
)
EXTENSIONS = st.sets(st.sampled_from(["size", "8bitmime", "smtputf8"])).map(lambda offered: dict.fromkeys(offered, ""))


@given(EXTENSIONS, ADDRESSES, st.lists(ADDRESSES, min_size=1, max_size=4), st.booleans())
def test_together_those_are_ruled_out_who_are_alone(
    extensions: dict[str, str], sender: str, recipients: list[str], smtputf8: bool
) -> None:
    together = ruled_out(extensions, Envelope(sender, tuple(recipients), smtputf8), CONTENT)
    alone = [ruled_out(extensions, Envelope(sender, (address,), smtputf8), CONTENT) for address in recipients]
    assert together == {address: reply for each in alone for address, reply in each.items()}


@pytest.mark.parametrize(
    ("sender", "recipient", "code"),
    [("a@b.example", "c@d.example", None), ("a@b.example", "c d@e", 553), ("a b@c", "c@d", 553), ("", "\u00fc@d", 550)],
)
def test_an_address_that_no_command_can_carry_is_ruled_out(sender: str, recipient: str, code: int | None) -> None:
    replies = ruled_out({}, Envelope(sender, (recipient,)), CONTENT)
    assert [reply.code for reply in replies.values()] == ([] if code is None else [code])


@given(EXTENSIONS, ADDRESSES, st.lists(ADDRESSES, min_size=1, max_size=4), st.booleans())
def test_mail_says_what_the_transaction_needs(
    extensions: dict[str, str], sender: str, recipients: list[str], smtputf8: bool
) -> None:
    envelope = Envelope(sender, tuple(recipients), smtputf8)
    needed = smtputf8 or any(not address.isascii() for address in (sender, *recipients))
    assert needs_smtputf8(envelope, recipients) is needed
    said = mail_command(extensions, envelope, recipients, CONTENT)
    size = f" SIZE={CONTENT.size()}" if "size" in extensions else ""
    assert said.decode() == f"MAIL FROM:<{sender}>{size}" + " SMTPUTF8" * needed


async def test_no_command_holds_a_control_character() -> None:
    protocol = Protocol()
    for code in range(256):
        lines = [b"NOOP", b"RCPT TO:<a" + bytes([code]) + b"@b.example>", b"DATA"]
        if code < 0x20 or code == 0x7F:
            with pytest.raises(ValueError, match="control character"):
                protocol.check(lines)
        else:
            protocol.check(lines)

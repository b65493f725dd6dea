import pytest

from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.mail.envelope import Envelope, EnvelopeRecipient, envelope_recipients, make_envelope


def test_the_envelope_has_wire_addresses_in_order() -> None:
    draft = Draft(to=(Mailbox("a@Bücher.example", "A"),), cc=(Mailbox("c@x"),), bcc=(Mailbox("b@x"),))
    assert make_envelope("Me@X", draft) == Envelope("Me@x", ("a@xn--bcher-kva.example", "c@x", "b@x"), smtputf8=False)


def test_the_null_reverse_path_stays_empty() -> None:
    assert make_envelope("", Draft(to=(Mailbox("a@x"),))).reverse_path == ""


def test_a_mailbox_named_twice_gets_one_copy_where_it_is_named_first() -> None:
    draft = Draft(
        to=(Mailbox("a@Bücher.example", "A"), Mailbox("a@xn--bcher-kva.example", "again")),
        cc=(Mailbox("A@bücher.example"), Mailbox("c@x")),
        bcc=(Mailbox("c@X", "hidden"), Mailbox("d@x", "D")),
    )
    assert envelope_recipients(draft) == (
        EnvelopeRecipient("to", "a@Bücher.example", "A", "a@xn--bcher-kva.example"),
        EnvelopeRecipient("cc", "A@bücher.example", None, "A@xn--bcher-kva.example"),
        EnvelopeRecipient("cc", "c@x", None, "c@x"),
        EnvelopeRecipient("bcc", "d@x", "D", "d@x"),
    )
    assert make_envelope("me@x", draft).recipients == tuple(r.address for r in envelope_recipients(draft))


A = Mailbox("a@x")
U = Mailbox("ü@x")


@pytest.mark.parametrize(
    ("draft", "sender", "reply_to", "smtputf8"),
    [
        (Draft(to=(A,)), A, A, False),
        (Draft(to=(Mailbox("a@ü.example", "Ü"),)), A, None, False),
        (Draft(to=(U,)), A, None, True),
        (Draft(to=(A,), cc=(U,)), A, None, True),
        (Draft(to=(A,), bcc=(U,)), A, None, False),
        (Draft(to=(A,)), U, None, True),
        (Draft(to=(A,)), A, U, True),
        (Draft(to=(A,), from_email="ü@x"), None, None, True),
        (Draft(to=(A,), reply_to_email="ü@x"), None, None, True),
    ],
)
def test_smtputf8_is_said_when_a_header_field_holds_a_local_part_beyond_ascii(
    draft: Draft, sender: Mailbox | None, reply_to: Mailbox | None, smtputf8: bool
) -> None:
    assert make_envelope("me@x", draft, sender=sender, reply_to=reply_to).smtputf8 is smtputf8


@pytest.mark.parametrize("mailbox", [Mailbox("A.b@Bücher.example", "A"), U, Mailbox('"a b"@X', "")])
def test_one_recipient_is_the_same_as_one_who_is_named_twice(mailbox: Mailbox) -> None:
    assert envelope_recipients(Draft(to=(mailbox,))) == envelope_recipients(Draft(to=(mailbox,), bcc=(mailbox,)))

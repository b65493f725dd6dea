"""Draft to Envelope: reverse-path and recipients (RFC 5321)."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from app.mail.address import Mailbox, mailbox_key, needs_smtputf8, wire_address
from app.mail.draft import Draft

RecipientKind = Literal["to", "cc", "bcc"]


class Envelope(Struct, frozen=True):
    """What MAIL and RCPT carry. Addresses are in wire form: domains as A-labels (RFC 5890).

    `smtputf8`: the content's header section holds a non-ASCII local part, so the whole transaction needs the
    SMTPUTF8 extension (RFC 6531). A non-ASCII local part among `recipients` or in `reverse_path` needs it too.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    smtputf8: bool = False


class EnvelopeRecipient(Struct, frozen=True):
    """One mailbox that gets one copy. `email` and `name` as the author wrote them, `address` in wire form."""

    kind: RecipientKind
    email: str
    name: str | None
    address: str


def make_envelope(
    reverse_path: str,
    draft: Draft,
    *,
    sender: Mailbox | None = None,
    reply_to: Mailbox | None = None,
    recipients: Sequence[EnvelopeRecipient] = (),
) -> Envelope:
    """The envelope of a checked draft. An empty `reverse_path` is the null reverse-path of RFC 5321.

    `sender` and `reply_to` are the mailboxes `compose` is given, where they are not the draft's own; `recipients` those
    of the draft, where they are known.
    """
    resolved = (sender.email if sender else "", reply_to.email if reply_to else "")
    authors = (draft.from_email or "", draft.reply_to_email or "", *resolved)
    addresses = tuple([recipient.address for recipient in recipients or envelope_recipients(draft)])
    smtputf8 = False
    if not "".join(authors + addresses).isascii():  # which is rare; then it is looked at more closely
        smtputf8 = any(map(needs_smtputf8, (*authors, *[mailbox.email for mailbox in (*draft.to, *draft.cc)])))
    return Envelope(wire_address(reverse_path) if reverse_path else "", addresses, smtputf8)


def envelope_recipients(draft: Draft) -> tuple[EnvelopeRecipient, ...]:
    """To, then Cc, then Bcc of a checked draft, each mailbox once: the first place it is named in wins."""
    if len(draft.to) == 1 and not draft.cc and not draft.bcc:
        (only,) = draft.to
        return (EnvelopeRecipient("to", only.email, only.name, wire_address(only.email)),)
    groups: tuple[tuple[RecipientKind, tuple[Mailbox, ...]], ...] = (
        ("to", draft.to),
        ("cc", draft.cc),
        ("bcc", draft.bcc),
    )
    unique: dict[str, EnvelopeRecipient] = {}
    for kind, mailboxes in groups:
        for mailbox in mailboxes:
            address = wire_address(mailbox.email)
            recipient = EnvelopeRecipient(kind, mailbox.email, mailbox.name, address)
            unique.setdefault(mailbox_key(address), recipient)
    return tuple(unique.values())

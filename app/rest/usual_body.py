"""A body of the usual form, read in one go: texts, and recipients that are objects. All others take a closer look."""

from msgspec import Struct
from msgspec.json import Decoder

from app.mail.address import Mailbox
from app.mail.draft import Draft

USUAL_DEPTH = 3
"""How deep it is, the object itself included."""


class _UsualMail(Struct, forbid_unknown_fields=True):
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    subject: str | None = None
    body_text: str | None = None
    body_html: str | None = None
    from_email: str | None = None
    from_name: str | None = None
    reply_to_email: str | None = None
    reply_to_name: str | None = None


_decode = Decoder(_UsualMail).decode


def read_usual_draft(document: bytes) -> Draft | None:
    """What `read_draft` makes of the object that this JSON is; None where that has another form, or anything is wrong
    with it."""
    try:
        mail = _decode(document)
    except ValueError:
        return None
    to, cc, bcc = mail.to, mail.cc, mail.bcc
    if not to or "" in [mailbox.name for mailbox in to + cc + bcc]:
        return None
    return Draft(
        to,
        cc,
        bcc,
        mail.subject,
        mail.body_text,
        mail.body_html,
        mail.from_email or None,
        mail.from_name or None,
        mail.reply_to_email or None,
        mail.reply_to_name or None,
    )

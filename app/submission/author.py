"""Who a mail is from, and where replies go."""

from dataclasses import dataclass, field

from app.errors import ErrorCode, Problem
from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.services.models import Service
from app.settings import Settings


@dataclass(slots=True)
class Author:
    """From and Reply-To. `missing`: what is wrong where there is no sender. `is_sound`: what the draft says of them was
    looked at, and nothing is wrong with it."""

    sender: Mailbox | None
    reply_to: Mailbox | None
    missing: tuple[Problem, ...] = ()
    is_sound: bool = field(default=False, compare=False)


def resolve_author(draft: Draft, service: Service, settings: Settings) -> Author:
    """Each field by itself: the draft's, else the service's default, else that of MAIL_FROM_*; never an invented
    sender."""
    from_email, from_name = draft.from_email, draft.from_name
    if from_email is None:
        from_email = service.from_email or settings.mail_from_address
    if from_name is None:
        from_name = service.from_name or settings.mail_from_name
    reply_email = service.reply_to_email if draft.reply_to_email is None else draft.reply_to_email
    reply_name = service.reply_to_name if draft.reply_to_name is None else draft.reply_to_name
    reply_to = Mailbox(reply_email, reply_name or None) if reply_email else None
    if not from_email:
        missing = Problem(
            ErrorCode.NO_SENDER, "No sender: give a from address, or a default one on the service.", ("from_email",)
        )
        return Author(None, reply_to, (missing,))
    return Author(Mailbox(from_email, from_name or None), reply_to)

"""The input of one mailbox."""

import strawberry

from app.mail.address import Mailbox


@strawberry.input(description="A mail address and, optionally, a display name.")
class MailboxInput:
    email: str = strawberry.field(description="The address, e.g. ada@example.com.")
    name: str | None = strawberry.field(default=None, description="The display name, e.g. Ada Lovelace.")


def mailboxes(given: list[MailboxInput] | None) -> tuple[Mailbox, ...]:
    """The mailboxes, as given; none for null."""
    return tuple([Mailbox(mailbox.email, mailbox.name or None) for mailbox in given]) if given else ()

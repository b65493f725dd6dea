"""What the author asked for, before anything is resolved."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from msgspec import Struct, field

from app.mail.address import Mailbox
from app.mail.octets import Octets


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file. `content` is decoded; `content_id` (without angle brackets) makes it inline, RFC 2392."""

    name: str
    content: bytes | Octets
    content_type: str | None = None
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A file that the server is asked to fetch. `path` is that of the field which named it, for problems with it."""

    url: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """How a recipient gets off the list: by a page, by mail to an address, or both. `one_click`: a POST to the `url`
    does it, without asking anything (RFC 8058)."""

    url: str | None = None
    email: str | None = None
    one_click: bool = False


class Draft(Struct):
    """A mail as asked for. Strings are as they came; `check` tells what is wrong with them.

    A sender or reply-to field that is None takes the service's default; an empty string means "none at all".
    `template_data` fills {placeholders} and is HTML-escaped in `html`; `variables` fills them raw, and loses
    against `template_data` where both have the name. `headers` are extra header fields in their order.
    `template` names a stored template, by its name; `template_id` by its number, or else by its name, and counts where
    there is no `template`. What the draft leaves out (None, no recipients) comes from the template first. `links`
    become attachments behind the others.
    """

    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    from_email: str | None = None
    from_name: str | None = None
    reply_to_email: str | None = None
    reply_to_name: str | None = None
    attachments: tuple[Attachment, ...] = ()
    links: tuple[Link, ...] = ()
    template: str | None = None
    template_id: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    template_data: Mapping[str, object] = field(default_factory=dict)
    variables: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    unsubscribe: Unsubscribe | None = None


@dataclass(frozen=True, slots=True)
class DraftLimits:
    """Sizes a draft must keep; every one is a setting."""

    max_recipients: int = 1000
    max_attachments: int = 100
    max_attachment_bytes: int = 25 * 1024 * 1024
    max_subject_chars: int = 998
    max_name_chars: int = 256
    max_headers: int = 50
    max_header_chars: int = 4096
    max_body_chars: int = 10 * 1024 * 1024
    max_tags: int = 20
    max_tag_chars: int = 100
    max_metadata_bytes: int = 16 * 1024
    max_json_depth: int = 64

    @classmethod
    def of(cls, settings: object) -> Self:
        """The limits that are attributes, of the same names, of `settings`."""
        return cls(**{limit.name: getattr(settings, limit.name) for limit in fields(cls)})

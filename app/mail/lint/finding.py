"""What is looked at, and what is found."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.mail.lint.page import Page, read_page


class LintSeverity(StrEnum):
    """ERROR: the mail does not arrive, or not as meant. WARNING: it may not, or readers suffer. INFO: good to know."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    INFO = "INFO"


class LintCode(StrEnum):
    """What can be found. A code is never renamed once released."""

    OVER_SERVER_SIZE = "OVER_SERVER_SIZE"
    LARGE_MAIL = "LARGE_MAIL"
    NEEDS_SMTPUTF8 = "NEEDS_SMTPUTF8"
    NO_SUBJECT = "NO_SUBJECT"
    UNFILLED_PLACEHOLDER = "UNFILLED_PLACEHOLDER"
    NO_TEXT_PART = "NO_TEXT_PART"
    AUTOMATIC_TEXT = "AUTOMATIC_TEXT"
    HTML_CLIPPED = "HTML_CLIPPED"
    MISSING_INLINE_IMAGE = "MISSING_INLINE_IMAGE"
    UNUSED_INLINE_IMAGE = "UNUSED_INLINE_IMAGE"
    IMAGE_WITHOUT_ALT = "IMAGE_WITHOUT_ALT"
    INSECURE_IMAGE = "INSECURE_IMAGE"
    IMAGE_NOT_SHOWN = "IMAGE_NOT_SHOWN"
    LINK_NOT_ABSOLUTE = "LINK_NOT_ABSOLUTE"
    LINK_SHOWS_ANOTHER = "LINK_SHOWS_ANOTHER"
    ACTIVE_CONTENT = "ACTIVE_CONTENT"
    FROM_NOT_ALIGNED = "FROM_NOT_ALIGNED"
    REPLY_TO_LOOK_ALIKE = "REPLY_TO_LOOK_ALIKE"
    REPLY_TO_NOT_ALIGNED = "REPLY_TO_NOT_ALIGNED"
    MANY_VISIBLE_RECIPIENTS = "MANY_VISIBLE_RECIPIENTS"
    NO_UNSUBSCRIBE = "NO_UNSUBSCRIBE"
    NO_ONE_CLICK = "NO_ONE_CLICK"
    BLOCKED_ATTACHMENT = "BLOCKED_ATTACHMENT"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found; `field` is the path as the Draft names it, empty for the mail as a whole."""

    code: LintCode
    severity: LintSeverity
    message: str
    field: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outgoing:
    """A checked mail as it would leave. `draft`: filled, with the text that it got; `unfilled`: the placeholders that
    stayed. `service_domains`: those that the service is known to send for, none where nothing is known. `size` is in
    octets; `size_limit` is the server's SIZE, where it is known."""

    draft: Draft
    sender: Mailbox
    reply_to: Mailbox | None = None
    unfilled: tuple[str, ...] = ()
    automatic_text: bool = False
    service_domains: tuple[str, ...] = ()
    smtputf8: bool = False
    size: int = 0
    size_limit: int | None = None

    @cached_property
    def page(self) -> Page:
        """What the html shows."""
        return read_page(self.draft.html or "")


@dataclass(frozen=True, slots=True)
class LintLimits:
    """From when on something is found; every one is a setting."""

    lint_mail_bytes: int = 25 * 1024 * 1024
    lint_html_bytes: int = 102 * 1024
    lint_visible_recipients: int = 20
    lint_bulk_recipients: int = 50
    lint_bulk_tags: tuple[str, ...] = ("bulk", "marketing", "newsletter")

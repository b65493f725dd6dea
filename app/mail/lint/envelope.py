"""Findings on who the mail is from, where replies go, and who gets it."""

from collections.abc import Iterator

from app.mail.characters import shown
from app.mail.lint.domains import are_related, domain_of, look_alike
from app.mail.lint.finding import Finding, LintCode, LintLimits, LintSeverity, Outgoing

_BULK_PRECEDENCES = frozenset({"bulk", "list", "junk"})


def sender(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """From another domain than the service sends for: SPF and DKIM may pass, and DMARC still fail (RFC 7489)."""
    domain, known = domain_of(mail.sender.email), mail.service_domains
    if known and not any(are_related(domain, other) for other in known):
        message = f"From is at {domain}, the service sends for {shown(', '.join(known))}: DMARC may refuse it."
        yield Finding(LintCode.FROM_NOT_ALIGNED, LintSeverity.WARNING, message, ("from_email",))


def reply_to(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Replies that go to another domain than the mail comes from, and to one that looks like it."""
    if mail.reply_to is None:
        return
    own, other = domain_of(mail.sender.email), domain_of(mail.reply_to.email)
    if look_alike(own, other):
        message = f"Replies go to {shown(other)}, which looks like {shown(own)} and is not: filters take it for fraud."
        yield Finding(LintCode.REPLY_TO_LOOK_ALIKE, LintSeverity.ERROR, message, ("reply_to_email",))
    elif not are_related(own, other):
        message = f"Replies go to {shown(other)}, the mail comes from {shown(own)}: filters count that against it."
        yield Finding(LintCode.REPLY_TO_NOT_ALIGNED, LintSeverity.WARNING, message, ("reply_to_email",))


def visible_recipients(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Many strangers who see each other's addresses."""
    count = len(mail.draft.to) + len(mail.draft.cc)
    if count > limits.lint_visible_recipients:
        message = (
            f"{count} recipients see each other's addresses in To and Cc: send each a mail of their own, or use Bcc."
        )
        yield Finding(LintCode.MANY_VISIBLE_RECIPIENTS, LintSeverity.WARNING, message, ("to",))


def unsubscribing(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Mail to many that nobody can stop: Gmail and Yahoo ask for one click (RFC 8058)."""
    if not _is_bulk(mail, limits):
        return
    names, given = {name.lower() for name, _ in mail.draft.headers}, mail.draft.unsubscribe
    if given is None and "list-unsubscribe" not in names:
        message = "Mail to many needs a way to unsubscribe: give unsubscribe, with oneClick."
        yield Finding(LintCode.NO_UNSUBSCRIBE, LintSeverity.WARNING, message, ("unsubscribe",))
    elif not (given.one_click if given else "list-unsubscribe-post" in names):
        message = "Gmail and Yahoo ask mail to many for unsubscribing with one click (RFC 8058): give oneClick."
        yield Finding(LintCode.NO_ONE_CLICK, LintSeverity.INFO, message, ("unsubscribe",))


def smtputf8(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """A local part beyond ASCII in the header section."""
    if mail.smtputf8:
        message = "An address has characters beyond ASCII before its @: only servers that offer SMTPUTF8 take the mail."
        yield Finding(LintCode.NEEDS_SMTPUTF8, LintSeverity.INFO, message)


def _is_bulk(mail: Outgoing, limits: LintLimits) -> bool:
    draft, tags = mail.draft, {tag.casefold() for tag in limits.lint_bulk_tags}
    if len(draft.to) + len(draft.cc) + len(draft.bcc) > limits.lint_bulk_recipients:
        return True
    if any(tag.casefold() in tags for tag in draft.tags):
        return True
    fields = [(name.lower(), value.strip().lower()) for name, value in draft.headers]
    return any(
        name.startswith("list-") or (name == "precedence" and value in _BULK_PRECEDENCES) for name, value in fields
    )

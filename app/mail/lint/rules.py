"""Every rule, and what all of them find."""

from collections.abc import Callable, Iterator

from app.mail.lint import content, envelope, html
from app.mail.lint.finding import Finding, LintLimits, LintSeverity, Outgoing

Rule = Callable[[Outgoing, LintLimits], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    content.size,
    content.subject,
    content.placeholders,
    content.text_part,
    html.clipped,
    html.inline_images,
    html.images,
    html.links,
    html.active_content,
    envelope.sender,
    envelope.reply_to,
    envelope.visible_recipients,
    envelope.unsubscribing,
    envelope.smtputf8,
    content.attachments,
)
_ORDER = list(LintSeverity)


def lint(mail: Outgoing, limits: LintLimits) -> tuple[Finding, ...]:
    """What is to be said about the mail, the worst first. Pure; never raises."""
    found = [finding for rule in RULES for finding in rule(mail, limits)]
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))

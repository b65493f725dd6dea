"""Findings on the parts of the mail, and its size."""

from collections.abc import Iterator
from os.path import splitext

from app.mail.characters import shown
from app.mail.lint.finding import Finding, LintCode, LintLimits, LintSeverity, Outgoing

# What Gmail and Outlook refuse by its name alone.
_BLOCKED = frozenset(
    {
        *(".ade", ".adp", ".apk", ".appx", ".bat", ".cab", ".chm", ".cmd", ".com", ".cpl", ".dll", ".dmg", ".exe"),
        *(".hta", ".ins", ".iso", ".isp", ".jar", ".js", ".jse", ".lib", ".lnk", ".mde", ".msc", ".msi", ".msp"),
        *(".mst", ".nsh", ".pif", ".ps1", ".scr", ".sct", ".shb", ".sys", ".vb", ".vbe", ".vbs", ".vhd", ".vxd"),
        *(".wsc", ".wsf", ".wsh", ".xll"),
    }
)


def size(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """A mail that the server, or many others, do not take."""
    if mail.size_limit and mail.size > mail.size_limit:
        message = f"The mail has {mail.size} bytes, and the service's server takes {mail.size_limit} (SIZE)."
        yield Finding(LintCode.OVER_SERVER_SIZE, LintSeverity.ERROR, message)
    elif mail.size > limits.lint_mail_bytes:
        message = f"The mail has {mail.size} bytes: many servers refuse what is over {limits.lint_mail_bytes}."
        yield Finding(LintCode.LARGE_MAIL, LintSeverity.WARNING, message)


def subject(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """None, or nothing in it."""
    if not (mail.draft.subject or "").strip():
        yield Finding(LintCode.NO_SUBJECT, LintSeverity.WARNING, "The mail has no subject.", ("subject",))


def placeholders(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Braces that readers will see."""
    draft = mail.draft
    address = draft.unsubscribe.email if draft.unsubscribe else None
    text = None if mail.automatic_text else draft.text
    places = [(("subject",), draft.subject), (("text",), text), (("html",), draft.html)]
    for path, part in [*places, (("unsubscribe", "email"), address)]:
        if names := [f"{{{name}}}" for name in mail.unfilled if f"{{{name}}}" in (part or "")]:
            message = f"There is no value for {shown(', '.join(names))}, which stays as it is."
            yield Finding(LintCode.UNFILLED_PLACEHOLDER, LintSeverity.WARNING, message, path)


def text_part(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Some readers, and many filters, want text beside the html."""
    if mail.automatic_text:
        message = "The text part was made from the html: read it, or write one."
        yield Finding(LintCode.AUTOMATIC_TEXT, LintSeverity.INFO, message, ("text",))
    elif mail.draft.html and not mail.draft.text:
        message = "The mail has no text part: filters count that against it, and some people read nothing else."
        yield Finding(LintCode.NO_TEXT_PART, LintSeverity.WARNING, message, ("text",))


def attachments(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Files that receiving servers refuse by their names."""
    for position, file in enumerate(mail.draft.attachments):
        if splitext(file.name.strip())[1].lower() in _BLOCKED:
            message = f"Gmail, Outlook and others refuse mail with a file such as '{shown(file.name)}'."
            path = ("attachments", str(position), "name")
            yield Finding(LintCode.BLOCKED_ATTACHMENT, LintSeverity.WARNING, message, path)

"""Findings on the html part."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.mail.characters import shown
from app.mail.lint.domains import are_related
from app.mail.lint.finding import Finding, LintCode, LintLimits, LintSeverity, Outgoing

_HTML = ("html",)
_SHOWN_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|#|\{", re.IGNORECASE)


def clipped(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Gmail shows the beginning of a large page only, and a link to the rest, which few follow."""
    size = len((mail.draft.html or "").encode())
    if size > limits.lint_html_bytes:
        message = f"The html has {size} bytes: Gmail clips what is behind {limits.lint_html_bytes}."
        yield Finding(LintCode.HTML_CLIPPED, LintSeverity.WARNING, message, _HTML)


def inline_images(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """cid: references without a file, and files without a reference (RFC 2392)."""
    attached = {file.content_id: position for position, file in enumerate(mail.draft.attachments) if file.content_id}
    for content_id in mail.page.content_ids:
        if content_id not in attached:
            message = f"The html refers to cid:{shown(content_id)}, and no attachment has this content id."
            yield Finding(LintCode.MISSING_INLINE_IMAGE, LintSeverity.ERROR, message, _HTML)
    for content_id, position in attached.items():
        if content_id not in mail.page.named_ids:
            message = f"No html refers to cid:{shown(content_id)}: mail programs may hide the file, or list it."
            path = ("attachments", str(position), "content_id")
            yield Finding(LintCode.UNUSED_INLINE_IMAGE, LintSeverity.WARNING, message, path)


def images(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Images that readers, or their mail programs, make nothing of."""
    found = mail.page.images
    silent = [image.source for image in found if image.alternative is None]
    yield from _some(LintCode.IMAGE_WITHOUT_ALT, silent, "without alternative text (alt): say what it shows")
    insecure = [image.source for image in found if image.source.lower().startswith("http:")]
    yield from _some(LintCode.INSECURE_IMAGE, insecure, "over http: not shown by some mail programs, use https")
    unseen = [image.source for image in found if not image.source.lower().startswith(("http:", "https:", "cid:", "{"))]
    yield from _some(LintCode.IMAGE_NOT_SHOWN, unseen, "at no address a mail program loads it from: use https or cid")


def links(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Links that lead nowhere from a mail, or elsewhere than they say."""
    relative = [link.href for link in mail.page.links if not _ABSOLUTE.match(link.href)]
    yield from _some(LintCode.LINK_NOT_ABSOLUTE, relative, "without scheme and host: a mail has no site", "link")
    lying = [link.href for link in mail.page.links if _shows_another(link.text.strip(), link.href)]
    yield from _some(
        LintCode.LINK_SHOWS_ANOTHER, lying, "that shows another address than it leads to, as phishing does", "link"
    )


def active_content(mail: Outgoing, limits: LintLimits) -> Iterator[Finding]:
    """Scripts, frames, forms: taken out by mail programs, and a reason for filters to refuse."""
    if mail.page.active:
        message = f"Mail programs take out, or refuse: {shown(', '.join(mail.page.active))}."
        yield Finding(LintCode.ACTIVE_CONTENT, LintSeverity.WARNING, message, _HTML)


def _some(code: LintCode, found: list[str], what: str, noun: str = "image") -> Iterator[Finding]:
    if found:
        count = f"1 {noun}" if len(found) == 1 else f"{len(found)} {noun}s, the first of them"
        yield Finding(code, LintSeverity.WARNING, f"{count} ({shown(found[0])}) {what}.", _HTML)


def _shows_another(text: str, href: str) -> bool:
    if not _SHOWN_ADDRESS.fullmatch(text):
        return False
    shown_host, host = _host(text if "://" in text else f"https://{text}"), _host(href)
    return bool(shown_host and host) and not are_related(shown_host, host)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return ""

"""How much work a draft is: little of it is done at once, which takes less than handing it to a thread and back."""

import asyncio
from collections.abc import Callable
from types import NoneType
from typing import TypeVar, TypeVarTuple

from app.mail.draft import Draft

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_LITTLE = 16 * 1024
"""Characters of text that take about a millisecond to check and to compose."""

# How many characters these are worth.
_MAILBOX = 256
_VALUE = 16
_CHAR_OF_HTML_TO_TEXT = 16


async def at_once_if_little(draft: Draft, work: Callable[[*Ts], T], *args: *Ts) -> T:
    """`work(*args)` on this draft; in a thread, so that nobody else waits for it, unless it is little."""
    if is_little(draft):
        return work(*args)
    return await asyncio.to_thread(work, *args)


def is_little(draft: Draft) -> bool:
    """Whether all that its author gave is little, and stays so when its placeholders are filled."""
    subject, text, html = draft.subject or "", draft.text or "", draft.html or ""
    size = len(text) + len(html) * (_CHAR_OF_HTML_TO_TEXT if draft.text is None else 1)
    mailboxes = draft.to + draft.cc + draft.bcc
    parts = len(mailboxes) + len(draft.attachments) + len(draft.links) + len(draft.headers)
    if size + _MAILBOX * parts > _LITTLE:
        return False
    names = [subject, draft.from_email or "", draft.from_name or "", draft.reply_to_email or ""]
    names += (draft.reply_to_name or "", draft.template or "", draft.template_id or "")
    for mailbox in mailboxes:
        names += (mailbox.email, mailbox.name or "")
    size += len("".join(names))
    lengths: list[int] = []
    if extras := _extras(draft):
        found = _lengths(extras)
        if found is None:
            return False
        lengths = found
        size += sum(lengths) + sum([len(file.content) for file in draft.attachments])
    has_braces = "{" in subject or "{" in text or "{" in html
    if size > _LITTLE or not has_braces:
        return size <= _LITTLE
    braces = subject.count("{") + text.count("{") + html.count("{")
    longest = max([*map(len, names), *lengths])
    return size + longest * braces <= _LITTLE


def _extras(draft: Draft) -> list[object]:
    """What most mail has not."""
    has_data = draft.template_data or draft.variables or draft.metadata or draft.tags
    if not (has_data or draft.headers or draft.attachments or draft.links or draft.unsubscribe):
        return []
    given = (draft.template_data, draft.variables, draft.metadata, draft.tags, draft.headers)
    extras: list[object] = [values for values in given if values]
    if draft.unsubscribe is not None:
        extras += [draft.unsubscribe.url, draft.unsubscribe.email]
    for file in draft.attachments:
        extras += [file.name, file.content_type, file.content_id]
    return extras + [link.url for link in draft.links]


def _lengths(values: list[object]) -> list[int] | None:
    """Of every text in them, at any depth, and what is not text counts, too; None where there is very much."""
    lengths, left = [], _LITTLE
    while values:
        value = values.pop()
        if type(value) is str:
            lengths.append(len(value))
        elif isinstance(value, dict | list | tuple):
            lengths.append(_VALUE * len(value))
            left -= lengths[-1]
            if left < 0:
                return None
            values += [*value, *value.values()] if isinstance(value, dict) else value
        elif not isinstance(value, (int, float, NoneType)):
            return None
    return lengths

"""How much work a draft is: little of it is done at once, which takes less than handing it to a thread and back."""

import asyncio
from collections.abc import Callable
from types import NoneType
from typing import ParamSpec, TypeVar

from app.mail.draft import Draft

P = ParamSpec("P")
T = TypeVar("T")

_LITTLE = 16 * 1024
"""Characters of text that take about a millisecond to check and to compose."""

# How many characters these are worth.
_MAILBOX = 256
_VALUE = 16
_CHAR_OF_HTML_TO_TEXT = 16


async def at_once_if_little(draft: Draft, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work(*args)` on this draft; in a thread, so that nobody else waits for it, unless it is little."""
    if is_little(draft):
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def is_little(draft: Draft) -> bool:
    """Whether all that its author gave is little, and stays so when its placeholders are filled."""
    return _is_short_letter(draft) or _is_little(draft)


def _is_short_letter(draft: Draft) -> bool:
    """Whether it is texts without placeholders to one recipient, as most are, and little. It says no to others."""
    if len(draft.to) != 1 or draft.cc or draft.bcc or draft.attachments or draft.links or draft.unsubscribe is not None:
        return False
    if draft.headers or draft.template_data or draft.variables or draft.metadata or draft.tags:
        return False
    (to,) = draft.to
    given = [draft.subject, draft.text, draft.html, draft.template, draft.template_id, to.email, to.name]
    given += [draft.from_email, draft.from_name, draft.reply_to_email, draft.reply_to_name]
    texts = [text for text in given if text]
    size = sum(map(len, texts)) + len(draft.html or "") * (_CHAR_OF_HTML_TO_TEXT if draft.text is None else 0)
    return size <= _LITTLE - _MAILBOX and "{" not in "".join(texts)


def _is_little(draft: Draft) -> bool:
    subject, text, html = draft.subject or "", draft.text or "", draft.html or ""
    size = len(text) + len(html) * (_CHAR_OF_HTML_TO_TEXT if draft.text is None else 1)
    parts = len(draft.to) + len(draft.cc) + len(draft.bcc) + len(draft.attachments) + len(draft.links)
    if size + _MAILBOX * (parts + len(draft.headers)) > _LITTLE:
        return False
    size += sum([len(file.content) for file in draft.attachments])
    lengths = _lengths([given for given in (*_names(draft), *_values(draft)) if given])
    if lengths is None or size + sum(lengths) > _LITTLE:
        return False
    braces = subject.count("{") + text.count("{") + html.count("{")
    return size + sum(lengths) + max(lengths, default=0) * braces <= _LITTLE


def _names(draft: Draft) -> list[object]:
    given: list[object] = [draft.from_email, draft.from_name, draft.reply_to_email, draft.reply_to_name]
    given += [draft.template, draft.template_id]
    if draft.unsubscribe is not None:
        given += [draft.unsubscribe.url, draft.unsubscribe.email]
    for mailbox in (*draft.to, *draft.cc, *draft.bcc):
        given += [mailbox.email, mailbox.name]
    for file in draft.attachments:
        given += [file.name, file.content_type, file.content_id]
    return given + [link.url for link in draft.links]


def _values(draft: Draft) -> list[object]:
    return [draft.subject, draft.template_data, draft.variables, draft.metadata, draft.tags, draft.headers]


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

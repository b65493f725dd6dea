"""How much work a draft is: little of it is done at once, which takes less than handing it to a thread and back."""

import asyncio
from collections.abc import Callable
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
    subject, text, html = draft.subject or "", draft.text or "", draft.html or ""
    bodies = len(text) + len(html) * (_CHAR_OF_HTML_TO_TEXT if draft.text is None else 1)
    parts = len(draft.to) + len(draft.cc) + len(draft.bcc) + len(draft.attachments) + len(draft.headers)
    if bodies + len(subject) + _MAILBOX * (parts + len(draft.links)) > _LITTLE:
        return False
    values = [draft.template_data, draft.variables, draft.metadata, draft.tags, draft.headers]
    words = len(subject) + _names(draft) + _size([value for value in values if value])
    files = sum([len(file.content) for file in draft.attachments])
    braces = subject.count("{") + text.count("{") + html.count("{")
    return bodies + files + words * (1 + braces) <= _LITTLE


def _names(draft: Draft) -> int:
    given = [draft.from_email, draft.from_name, draft.reply_to_email, draft.reply_to_name, draft.template]
    if draft.unsubscribe is not None:
        given += [draft.unsubscribe.url, draft.unsubscribe.email]
    for file in draft.attachments:
        given += [file.name, file.content_type, file.content_id]
    for mailbox in (*draft.to, *draft.cc, *draft.bcc):
        given += [mailbox.email, mailbox.name]
    return sum([len(text) for text in given if text])


def _size(values: list[object]) -> int:
    """Of everything in them, at any depth; of very much, some number above `_LITTLE`."""
    size = 0
    while values and size <= _LITTLE:
        value = values.pop()
        if type(value) is str:
            size += len(value)
        elif isinstance(value, dict):
            size += _VALUE * len(value)
            values += [*value, *value.values()] if size <= _LITTLE else []
        elif isinstance(value, list | tuple):
            size += _VALUE * len(value)
            values += value if size <= _LITTLE else []
        elif not isinstance(value, int | float | None):
            return _LITTLE + 1
    return size

"""Files that a draft names by URL become its attachments."""

import asyncio
from dataclasses import replace

from msgspec import structs

from app.errors import ErrorCode, InvalidInput, Problem, Refusal
from app.mail.draft import Attachment, Draft, Link
from app.outbound.fetch import Fetcher, Session


async def attach_links(draft: Draft, fetcher: Fetcher, max_attachments: int) -> Draft:
    """The draft with the files of its links behind its other attachments, in their order, and no links.

    Raises InvalidInput with every file that cannot be had or is too large. Nothing is fetched where that shows before:
    too many files, or a host that is not listed.
    """
    if not draft.links:
        return draft
    count = len(draft.attachments) + len(draft.links)
    if count > max_attachments:
        message = f"attachments has {count} attachments; the limit is {max_attachments}."
        raise InvalidInput(problems=[Problem(ErrorCode.TOO_LARGE, message, ("attachments",))])
    if refused := await asyncio.to_thread(_refused, draft, fetcher):
        raise InvalidInput(problems=refused)
    async with fetcher.session() as session:
        fetched = await asyncio.gather(*(_fetched(link, session) for link in draft.links))
    if problems := [problem for found in fetched if not isinstance(found, Attachment) for problem in found]:
        raise InvalidInput(problems=problems)
    files = [found for found in fetched if isinstance(found, Attachment)]
    return structs.replace(draft, attachments=(*draft.attachments, *files), links=())


def _refused(draft: Draft, fetcher: Fetcher) -> list[Problem]:
    problems: list[Problem] = []
    for link in draft.links:
        try:
            fetcher.check(link.url)
        except Refusal as refusal:
            problems += _under(link, refusal)
    return problems


async def _fetched(link: Link, session: Session) -> Attachment | tuple[Problem, ...]:
    try:
        return await session.fetch(link.url)
    except Refusal as refusal:
        return _under(link, refusal)


def _under(link: Link, refusal: Refusal) -> tuple[Problem, ...]:
    return tuple(replace(problem, field=link.path) for problem in refusal.problems)

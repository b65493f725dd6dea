"""Queries on accepted mail and on the inbox."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from app.access.principal import Action
from app.errors import InvalidInput
from app.graphql.context import Info
from app.graphql.paging import After, First, key_of, page
from app.graphql.types import CapturedMail, Connection, Message
from app.inbox.read import StoredCapture, find_capture, list_captures
from app.queue.lookup import MessageFilter, StoredMessage, find_message, list_messages
from app.queue.states import MessageState


@strawberry.input(description="Conditions on messages; all that are given must hold.")
class MessageFilterInput:
    service: str | None = strawberry.field(default=None, description="Name of the service.")
    state: MessageState | None = strawberry.field(default=None, description="The message's state.")
    recipient: str | None = strawberry.field(default=None, description="A recipient's address, exactly as given.")
    tag: str | None = strawberry.field(default=None, description="One of the tags.")
    created_from: datetime | None = strawberry.field(default=None, description="Accepted then or later.")
    created_before: datetime | None = strawberry.field(default=None, description="Accepted earlier than this.")


async def message(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The message's id.")]
) -> Message | None:
    """The message; null when there is none, or the API key may not read it."""
    scope = await info.context.scope(Action.READ_MESSAGES)
    key = key_of(id, "msg")
    found = await find_message(key, scope) if key else None
    return Message.of(found) if found else None


async def messages(
    info: Info,
    first: First,
    after: After = None,
    filter: Annotated[
        MessageFilterInput | None, strawberry.argument(description="Which ones; all when absent.")
    ] = None,
) -> Connection[Message]:
    """Messages of the services that the API key may read, newest first."""
    scope = await info.context.scope(Action.READ_MESSAGES)
    wanted = _wanted(filter) if filter else MessageFilter()

    async def load(after: UUID | None, limit: int) -> list[StoredMessage]:
        return await list_messages(scope, wanted, after=after, limit=limit)

    return await page(first, after, "msg", load, Message.of)


async def captured_mail(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The captured mail's id.")]
) -> CapturedMail | None:
    """The captured mail; null when there is none, or the API key may not read it."""
    scope = await info.context.scope(Action.READ_MESSAGES)
    key = key_of(id, "cap")
    found = await find_capture(key, scope) if key else None
    return CapturedMail.of(found) if found else None


async def inbox(info: Info, first: First, after: After = None) -> Connection[CapturedMail]:
    """Mail that SANDBOX services delivered into the built-in inbox, newest first."""
    scope = await info.context.scope(Action.READ_MESSAGES)

    async def load(after: UUID | None, limit: int) -> list[StoredCapture]:
        return await list_captures(scope, after=after, limit=limit)

    return await page(first, after, "cap", load, CapturedMail.of)


def _wanted(given: MessageFilterInput) -> MessageFilter:
    for field, moment in (("createdFrom", given.created_from), ("createdBefore", given.created_before)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidInput(f"{field} needs an offset from UTC, e.g. 2026-11-22T12:00:00Z.", field=("filter", field))
    return MessageFilter(
        service_name=given.service,
        state=given.state,
        recipient=given.recipient,
        tag=given.tag,
        created_from=given.created_from,
        created_before=given.created_before,
    )

"""Queries on accepted mail."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from app.access.principal import Action
from app.graphql.context import Info
from app.graphql.paging import After, First, key_of, page
from app.graphql.types import Connection, Message
from app.queue.lookup import MessageFilter, StoredMessage, find_message, list_messages
from app.queue.schedule import in_utc
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


def _wanted(given: MessageFilterInput) -> MessageFilter:
    return MessageFilter(
        service_name=given.service,
        state=given.state,
        recipient=given.recipient,
        tag=given.tag,
        created_from=in_utc(given.created_from, "filter", "createdFrom"),
        created_before=in_utc(given.created_before, "filter", "createdBefore"),
    )

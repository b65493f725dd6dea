"""Mutations of accepted mail: cancel, reschedule, retry, hold, release."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from app.access.policy import ServiceScope
from app.access.principal import Principal
from app.clock import now
from app.errors import InvalidInput, NotFound, Refusal
from app.graphql.context import Info, note_carried_out
from app.graphql.paging import key_of
from app.graphql.types import Message, UserError, user_errors
from app.queue.change import RecipientChange
from app.queue.intervene import Intervention
from app.queue.lookup import find_message
from app.queue.schedule import in_utc
from app.queue.states import RecipientState

# Who may change a message may see it in the answer, without a grant to read messages.
_CHANGED = ServiceScope(all=True, service_ids=frozenset())

_Verb = Callable[[UUID, Principal, datetime], Awaitable[Intervention]]


@strawberry.input(description="Which mail to cancel.")
class CancelEmailInput:
    id: strawberry.ID = strawberry.field(description="The message's id.")


@strawberry.input(description="Which mail to reschedule, and to when.")
class RescheduleEmailInput:
    id: strawberry.ID = strawberry.field(description="The message's id.")
    send_at: datetime = strawberry.field(
        description="Not tried before this, up to a year ahead; with an offset from UTC. A moment that has passed means"
        " at once."
    )


@strawberry.input(description="Which mail to retry.")
class RetryEmailInput:
    id: strawberry.ID = strawberry.field(description="The message's id.")


@strawberry.input(description="Which mail to hold.")
class HoldEmailInput:
    id: strawberry.ID = strawberry.field(description="The message's id.")


@strawberry.input(description="Which mail to release.")
class ReleaseEmailInput:
    id: strawberry.ID = strawberry.field(description="The message's id.")


@strawberry.type(name="RecipientChange", description="What became of one recipient.")
class ShownChange:
    email: str = strawberry.field(description="The address, as the author wrote it.")
    changed: bool = strawberry.field(description="Whether the mutation changed it; false: too late, or nothing to do.")
    state: RecipientState = strawberry.field(description="The state it has now.")

    @classmethod
    def of(cls, change: RecipientChange) -> "ShownChange":
        return cls(email=change.email, changed=change.changed, state=change.state)


@strawberry.type(description="The message as it is now, and what became of each recipient.")
class InterventionPayload:
    message: Message | None = strawberry.field(description="The message; null when there is none to be changed.")
    recipients: list[ShownChange] = strawberry.field(description="Every recipient, in the order they were named.")
    user_errors: list[UserError] = strawberry.field(description="Why nothing was changed; empty if anything was.")


async def cancel(
    info: Info, input: Annotated[CancelEmailInput, strawberry.argument(description="Which one.")]
) -> InterventionPayload:
    """Cancel what has not left: queued, deferred and held recipients. For a recipient that is being sent right now, or
    was sent, it is too late. Needs MANAGE_SERVICES on the service, or SEND for mail that the same role sent."""
    return await _payload(info, input.id, info.context.parts.intervener.cancel)


async def reschedule(
    info: Info, input: Annotated[RescheduleEmailInput, strawberry.argument(description="Which one, and when.")]
) -> InterventionPayload:
    """Try queued and deferred recipients at another time; held ones not before it, once released. Needs
    MANAGE_SERVICES on the service, or SEND for mail that the same role sent."""

    async def verb(key: UUID, by: Principal, moment: datetime) -> Intervention:
        send_at = in_utc(input.send_at, "sendAt")
        assert send_at is not None, "the input requires it"
        return await info.context.parts.intervener.reschedule(key, send_at, by, moment)

    return await _payload(info, input.id, verb)


async def retry(
    info: Info, input: Annotated[RetryEmailInput, strawberry.argument(description="Which one.")]
) -> InterventionPayload:
    """Try failed and expired recipients again, at once. Whoever was sent to gets no second copy. Refused when the
    mail's own expiresAt has passed. Needs MANAGE_SERVICES on the service, or SEND for mail that the same role sent."""
    return await _payload(info, input.id, info.context.parts.intervener.retry)


async def hold(
    info: Info, input: Annotated[HoldEmailInput, strawberry.argument(description="Which one.")]
) -> InterventionPayload:
    """Keep queued and deferred recipients back until they are released; expiresAt goes on counting. Needs
    MANAGE_SERVICES on the service, or SEND for mail that the same role sent."""
    return await _payload(info, input.id, info.context.parts.intervener.hold)


async def release(
    info: Info, input: Annotated[ReleaseEmailInput, strawberry.argument(description="Which one.")]
) -> InterventionPayload:
    """Queue held recipients again: at once, or at the scheduled time if that is still to come. Needs
    MANAGE_SERVICES on the service, or SEND for mail that the same role sent."""
    return await _payload(info, input.id, info.context.parts.intervener.release)


async def _payload(info: Info, id: str, verb: _Verb) -> InterventionPayload:
    try:
        principal = await info.context.principal()
        key = key_of(id, "msg")
        if key is None:
            raise NotFound("There is no such message.", field=("id",))
        done = await verb(key, principal, now())
    except InvalidInput as invalid:
        return _refused(Refusal(problems=[replace(problem, field=("sendAt",)) for problem in invalid.problems]))
    except Refusal as refusal:
        return _refused(refusal)
    if any(change.changed for change in done.recipients):
        note_carried_out(info, id)
    stored = await find_message(key, _CHANGED)
    assert stored is not None, "it was there a moment ago"
    return InterventionPayload(
        message=Message.of(stored),
        recipients=[ShownChange.of(change) for change in done.recipients],
        user_errors=user_errors(Refusal(problems=[done.problem])) if done.problem else [],
    )


def _refused(refusal: Refusal) -> InterventionPayload:
    return InterventionPayload(message=None, recipients=[], user_errors=user_errors(refusal))

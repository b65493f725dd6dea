"""The sendTestEmail mutation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import strawberry

from app.clock import now
from app.database.key import public_id
from app.errors import InvalidInput, Refusal, Unauthenticated
from app.graphql.context import Info, note_carried_out
from app.graphql.send_email import accepted_unseen_error, after_wait
from app.graphql.types import Message, UserError, user_errors
from app.queue.lookup import StoredRecipient
from app.submission.test_mail import make_test_mail

_INPUT_NAMES: Mapping[str, tuple[str, ...]] = {"to": ("to",), "from_email": ("service",), "from_name": ("service",)}


@strawberry.input(description="A test mail.")
class SendTestEmailInput:
    service: str = strawberry.field(description="Name of the service to test.")
    to: str = strawberry.field(description="The address that gets it.")
    wait_seconds: int | None = strawberry.field(
        default=None, description="How long to wait for the SMTP server's verdict; absent: HELIOGRAPH_VERDICT_WAIT."
    )


@strawberry.type(description="The accepted test mail and what became of it, or why there is none.")
class SendTestEmailPayload:
    message: Message | None = strawberry.field(description="The accepted message.")
    said: str | None = strawberry.field(
        description="What the SMTP server said, or why nothing could be said to it; null: no verdict yet."
    )
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


async def send_test_email(
    info: Info, input: Annotated[SendTestEmailInput, strawberry.argument(description="The test mail.")]
) -> SendTestEmailPayload:
    """Send a small mail that names the service, its server, the time and its Message-ID, and wait for the verdict. It
    is accepted like any other: needs SEND on the service, and counts towards its limits."""
    context = info.context
    settings = context.parts.settings
    try:
        principal = await context.principal()
        seconds = settings.verdict_wait if input.wait_seconds is None else input.wait_seconds
        if not 0 <= seconds <= settings.max_wait:
            raise InvalidInput(f"waitSeconds must be from 0 to {settings.max_wait:g}.", field=("waitSeconds",))
        submission = await make_test_mail(input.service, input.to, principal, settings, now())
        receipt = await context.parts.submitter.submit(submission)
    except Refusal as refusal:
        return SendTestEmailPayload(message=None, said=None, user_errors=user_errors(_as_input(refusal)))
    note_carried_out(info, public_id("msg", receipt.message_id))
    try:
        stored = await after_wait(context, receipt.message_id, seconds)
        (recipient,) = await context.recipients.load(receipt.message_id)
    except Exception as error:
        context.unseen = True
        return SendTestEmailPayload(message=None, said=None, user_errors=[accepted_unseen_error(receipt, error)])
    return SendTestEmailPayload(message=Message.of(stored), said=_said(recipient), user_errors=[])


def _said(recipient: StoredRecipient) -> str | None:
    return recipient.detail or (str(recipient.reply) if recipient.reply else None)


def _as_input(refusal: Refusal) -> Refusal:
    """The refusal with the fields of a Draft named as this mutation's input names them."""
    if isinstance(refusal, Unauthenticated):
        return refusal
    problems = (replace(each, field=_INPUT_NAMES.get("".join(each.field[:1]), each.field)) for each in refusal.problems)
    return Refusal(problems=list(problems))

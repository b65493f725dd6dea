"""The sendEmail mutation."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from app.access.policy import ServiceScope
from app.access.principal import Principal
from app.database.key import public_id
from app.errors import ErrorCode, InvalidInput, Problem, Refusal, Unauthenticated
from app.graphql.context import Context, Info
from app.graphql.json_object import json_object
from app.graphql.mailbox_input import MailboxInput, mailboxes
from app.graphql.plain_mail import PlainMail
from app.graphql.types import Message, UserError, user_errors
from app.mail.draft import Attachment, Draft, Unsubscribe
from app.mail.octets import size_of
from app.mail.transfer_encoding import read_base64
from app.queue.accepted import as_stored
from app.queue.doubt import OnDoubt
from app.queue.engine import Priority
from app.queue.lookup import StoredMessage, find_message
from app.queue.put import NewMessage, Receipt
from app.queue.schedule import AT_ONCE, Schedule, in_utc
from app.submission.prepare import Submission
from app.submission.unseen import tell_accepted

# What the author accepted, the author may see in the answer, without a grant to read messages.
_OWN = ServiceScope(all=True, service_ids=frozenset())

# Decoding so many characters takes less than handing them to a thread and back.
_DECODED_AT_ONCE = 64 * 1024

_INPUT_NAMES: Mapping[str, tuple[str, ...]] = {
    "from_email": ("from", "email"),
    "from_name": ("from", "name"),
    "reply_to_email": ("replyTo", "email"),
    "reply_to_name": ("replyTo", "name"),
    "content_type": ("contentType",),
    "content_id": ("contentId",),
    "one_click": ("oneClick",),
    "idempotency_key": ("idempotencyKey",),
    "send_at": ("sendAt",),
    "expires_at": ("expiresAt",),
    "on_doubt": ("onDoubt",),
}


@strawberry.input(description="A file, or an inline image where contentId is given.")
class AttachmentInput:
    name: str = strawberry.field(description="The file name; folders in it are dropped.")
    content: str = strawberry.field(description="The octets, in base64.")
    content_type: str | None = strawberry.field(
        default=None, description="The media type; guessed from the name when absent."
    )
    content_id: str | None = strawberry.field(
        default=None, description="Makes it inline: refer to it in html as cid:<contentId>."
    )


@strawberry.input(description="An extra header field.")
class HeaderInput:
    name: str = strawberry.field(description="Letters, digits and hyphens, e.g. X-Campaign.")
    value: str = strawberry.field(description="One line of text.")


@strawberry.input(
    description="How recipients get off the list, for the header fields List-Unsubscribe (RFC 2369) and"
    " List-Unsubscribe-Post (RFC 8058): a url, an email, or both. Both may hold {placeholders}."
)
class UnsubscribeInput:
    url: str | None = strawberry.field(
        default=None,
        description="An https or http URL. Values for placeholders are percent-encoded, but for one that it begins"
        " with.",
    )
    email: str | None = strawberry.field(default=None, description="An address that any mail unsubscribes at.")
    one_click: bool = strawberry.field(
        default=False,
        description="A POST to the url, which has to be https, unsubscribes at once, without asking anything.",
    )


@strawberry.input(description="A mail to be sent.")
class SendEmailInput:
    service: str = strawberry.field(description="Name of the service to send with.")
    to: list[MailboxInput] | None = strawberry.field(
        default=None, description="Recipients; at least one, here or in the template."
    )
    cc: list[MailboxInput] | None = strawberry.field(default=None, description="Recipients of a visible copy.")
    bcc: list[MailboxInput] | None = strawberry.field(
        default=None, description="Recipients of a copy that no one else sees."
    )
    subject: str | None = strawberry.field(default=None, description="The subject; may hold {placeholders}.")
    text: str | None = strawberry.field(
        default=None,
        description="The plain text part; may hold {placeholders}. When absent, here and in the template, it is made"
        " from the html, unless the server is told otherwise; an empty text means that there shall be none.",
    )
    html: str | None = strawberry.field(default=None, description="The html part; may hold {placeholders}.")
    template: str | None = strawberry.field(
        default=None,
        description="Name, in any case, or id of a stored template, which fills in what is absent here.",
    )
    from_: MailboxInput | None = strawberry.field(
        name="from",
        default=None,
        description="The sender; when absent the template's default, else the service's, else MAIL_FROM_*.",
    )
    reply_to: MailboxInput | None = strawberry.field(
        default=None, description="Where replies go; the template's default, else the service's, when absent."
    )
    attachments: list[AttachmentInput] | None = strawberry.field(default=None, description="Files and inline images.")
    headers: list[HeaderInput] | None = strawberry.field(default=None, description="Extra header fields.")
    unsubscribe: UnsubscribeInput | None = strawberry.field(
        default=None, description="How recipients get off the list; not along with a header field List-Unsubscribe."
    )
    template_data: JSON | None = strawberry.field(
        default=None,
        description="Object of values for {placeholders}; HTML-escaped in the html part. What the template requires"
        " must be there, and of the type it declares.",
    )
    metadata: JSON | None = strawberry.field(
        default=None, description="Object of your own data, kept with the message and never sent."
    )
    tags: list[str] | None = strawberry.field(
        default=None, description="Your own labels, kept with the message and never sent."
    )
    send_at: datetime | None = strawberry.field(
        default=None,
        description="Not tried before this, up to a year ahead; with an offset from UTC. A moment that has passed, or"
        " none, means at once.",
    )
    expires_at: datetime | None = strawberry.field(
        default=None,
        description="Not tried from this on: recipients not sent by then expire. With an offset from UTC; later than"
        " now and than sendAt.",
    )
    priority: Priority = strawberry.field(
        default=Priority.NORMAL, description="Of what is due for the service, HIGH goes first and LOW last."
    )
    on_doubt: OnDoubt = strawberry.field(
        default=OnDoubt.RETRY,
        description="What becomes of recipients of whom nobody can know whether the server took the mail for them.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="1 to 256 characters. The same request with the same key is accepted once, and answers with the"
        " same message; another request with it is refused.",
    )
    wait_seconds: int | None = strawberry.field(
        default=None,
        description="Wait up to this long for the SMTP server's verdict before answering; not with sendAt. A browser"
        " key never waits.",
    )


@strawberry.type(description="The accepted message, or why there is none.")
class SendEmailPayload:
    message: Message | None = strawberry.field(
        description="The accepted message: durable from now on. Not for a browser key, which reads nothing."
    )
    message_id: strawberry.ID | None = strawberry.field(default=None, description="The id of the accepted message.")
    replayed: bool = strawberry.field(description="Whether an earlier request with the idempotency key made it.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


async def send_email(
    info: Info, input: Annotated[SendEmailInput, strawberry.argument(description="The mail.")]
) -> SendEmailPayload:
    """Accept a mail. It is stored durably before this answers, and then delivered with retries."""
    payload, _ = await accept(info.context, str(info.path.key), input)
    return payload


def queued_message(public_id: str, put: NewMessage, moment: datetime) -> Message:
    """The message that was put at this moment."""
    return Message.of(as_stored(put, moment))


async def accept(
    context: Context,
    key: str,
    given: SendEmailInput | PlainMail,
    show: Callable[[str, NewMessage, datetime], Any] = queued_message,
) -> tuple[SendEmailPayload, NewMessage | None]:
    """The answer to sendEmail under the response key `key`; and what was put, where the answer shows just that. `show`
    makes the payload's message of it."""
    try:
        sender = await context.sender()
        if isinstance(given, PlainMail):
            submission = _submission(context, given, given.whole_draft(), sender)
        else:
            submission = await _read_submission(context, given, sender)
        receipt = await context.parts.submitter.submit(submission)
    except Refusal as refusal:
        return SendEmailPayload(message=None, replayed=False, user_errors=user_errors(as_input(refusal))), None
    message_id = strawberry.ID(public_id("msg", receipt.message_id))
    context.carried_out[key] = message_id
    put = None if given.wait_seconds or not receipt.is_shown else receipt.accepted
    message, errors = None, []
    try:
        if put is not None and receipt.accepted_at is not None:
            message = show(message_id, put, receipt.accepted_at)
        elif receipt.is_shown:
            message = Message.of(await after_wait(context, receipt.message_id, given.wait_seconds))
    except Exception as error:
        context.unseen = True
        errors = [accepted_unseen_error(receipt, error)]
    payload = SendEmailPayload(message=message, message_id=message_id, replayed=receipt.replayed, user_errors=errors)
    return payload, put


def accepted_unseen_error(receipt: Receipt, error: Exception) -> UserError:
    """What a payload says where the accepted message cannot be shown."""
    return UserError(code=ErrorCode.UNAVAILABLE, field=None, message=tell_accepted(receipt, error), retryable=False)


async def after_wait(context: Context, message_id: UUID, seconds: float | None) -> StoredMessage:
    """The accepted message, once it has its verdict, or the seconds are over."""
    if seconds:
        await context.parts.waiter.wait(message_id, seconds)
    stored = await find_message(message_id, _OWN)
    assert stored is not None, "an accepted message is there"
    return stored


async def _read_submission(context: Context, given: SendEmailInput, sender: Principal) -> Submission:
    try:
        return await read_submission(context, given, sender)
    except Refusal:
        await context.parts.submitter.keys.confirm(sender)  # who asks with a key that is revoked is told nothing else
        raise


async def read_submission(context: Context, given: SendEmailInput, principal: Principal) -> Submission:
    """What the input asks for. Raises InvalidInput."""
    most = context.parts.settings.max_wait
    if given.wait_seconds is not None and not 0 <= given.wait_seconds <= most:
        raise InvalidInput(f"waitSeconds must be from 0 to {most:g}.", field=("waitSeconds",))
    if given.wait_seconds and given.send_at is not None:
        raise InvalidInput("waitSeconds and sendAt cannot be combined.", field=("waitSeconds",))
    schedule = Schedule(in_utc(given.send_at, "sendAt"), in_utc(given.expires_at, "expiresAt"), given.priority)
    size = sum([size_of(file.content) for file in given.attachments or ()])
    draft = _draft(given) if size <= _DECODED_AT_ONCE else await asyncio.to_thread(_draft, given)
    return _submission(context, given, draft, principal, schedule, given.on_doubt)


def _submission(
    context: Context,
    given: SendEmailInput | PlainMail,
    draft: Draft,
    principal: Principal,
    schedule: Schedule = AT_ONCE,
    on_doubt: OnDoubt = OnDoubt.RETRY,
) -> Submission:
    return Submission(
        given.service,
        draft,
        principal,
        given.idempotency_key,
        schedule=schedule,
        on_doubt=on_doubt,
        values_required=True,
        text_from_html=context.parts.settings.automatic_text,
    )


def _draft(given: SendEmailInput) -> Draft:
    problems: list[Problem] = []
    draft = Draft(
        to=mailboxes(given.to),
        cc=mailboxes(given.cc),
        bcc=mailboxes(given.bcc),
        subject=given.subject,
        text=given.text,
        html=given.html,
        template=given.template or None,
        from_email=given.from_.email if given.from_ else None,
        from_name=given.from_.name or "" if given.from_ else None,
        reply_to_email=given.reply_to.email if given.reply_to else None,
        reply_to_name=given.reply_to.name or "" if given.reply_to else None,
        attachments=_attachments(given.attachments, problems) if given.attachments else (),
        headers=tuple([(header.name, header.value) for header in given.headers or ()]),
        template_data=json_object(given.template_data, "templateData", problems),
        metadata=json_object(given.metadata, "metadata", problems),
        tags=tuple(given.tags or ()),
        unsubscribe=Unsubscribe(**vars(given.unsubscribe)) if given.unsubscribe else None,
    )
    if problems:
        raise InvalidInput(problems=problems)
    return draft


def as_input(refusal: Refusal) -> Refusal:
    """The refusal with the fields of a Draft named as this mutation's input names them."""
    if isinstance(refusal, Unauthenticated):
        return refusal
    return Refusal(problems=[replace(problem, field=input_path(problem.field)) for problem in refusal.problems])


def input_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path of a Draft's field, as this mutation's input names it."""
    if path[:1] == ("template_data",):  # what follows is a name of the author's
        return ("templateData", *path[1:])
    return tuple(name for part in path for name in _INPUT_NAMES.get(part, (part,)))


def _attachments(given: list[AttachmentInput], problems: list[Problem]) -> tuple[Attachment, ...]:
    places = [("attachments", str(index), "content") for index in range(len(given))]
    return tuple(_attachment(file, path, problems) for file, path in zip(given, places, strict=True))


def _attachment(given: AttachmentInput, path: tuple[str, ...], problems: list[Problem]) -> Attachment:
    octets = read_base64(given.content)
    if octets is None:
        message = f"The content of '{given.name[:80]}' is not valid base64."
        problems.append(Problem(ErrorCode.INVALID_INPUT, message, path))
    return Attachment(
        given.name, b"" if octets is None else octets, given.content_type or None, given.content_id or None
    )

"""The output types, on one page; those of the inbox, and some parts, have files of their own."""

from datetime import datetime
from enum import Enum
from typing import Generic, Self, TypeVar

import strawberry
from strawberry.scalars import JSON

from app.access import models as access
from app.clock import now
from app.database.key import public_id
from app.errors import ErrorCode, Refusal, Unauthenticated
from app.graphql.context import Info
from app.graphql.explanation import Explanation
from app.graphql.grant_types import Grant
from app.graphql.message_template import MessageTemplate
from app.graphql.recipient_limits import RecipientLimits
from app.mail.reply import Reply as SmtpReply
from app.queue.doubt import OnDoubt
from app.queue.engine import Priority
from app.queue.explain import Way
from app.queue.lookup import StoredAttempt, StoredMessage, StoredRecipient
from app.queue.states import MessageState, RecipientState
from app.services.models import ServiceKind
from app.services.providers import ProviderName
from app.smtp.server import Encryption

T = TypeVar("T")

strawberry.enum(ErrorCode, description="Why a request was refused. Codes are stable; REST uses the same.")
strawberry.enum(
    ServiceKind, description="SMTP: a real server. SANDBOX: the built-in inbox; nothing leaves the machine."
)
strawberry.enum(
    Encryption,
    description="TLS: STARTTLS required (implicit TLS on port 465). SSL: implicit TLS. NONE: clear text.",
)
strawberry.enum(ProviderName, description="A mail provider with a preset; GENERIC is any other server.")
strawberry.enum(Priority, description="Which of the mail that is due for one service goes first.")
strawberry.enum(
    OnDoubt,
    description="What becomes of a recipient when the connection, or the worker, was lost where the server may have"
    " taken the mail already. RETRY: it is tried again with the same Message-ID, and may arrive twice. FAIL: it fails,"
    ' with a detail that begins with "Uncertain", and may have arrived.',
)
strawberry.enum(MessageState, description="Where a message stands as a whole, derived from its recipients.")
strawberry.enum(
    RecipientState,
    description="Where one recipient stands. SENT: the SMTP server accepted the mail for it; no more than that.",
)


@strawberry.type(description="One thing that is wrong with a request.")
class UserError:
    code: ErrorCode = strawberry.field(description="Stable, for programs.")
    field: list[str] | None = strawberry.field(
        description='Path from the input\'s root to what is wrong, for example ["to", "0", "email"].'
    )
    message: str = strawberry.field(description="One sentence for people; names the limit where there is one.")
    retryable: bool = strawberry.field(description="Whether the same request can succeed later.")
    retry_after: int | None = strawberry.field(
        default=None, description="Seconds after which it is worth another try, where it is retryable."
    )


def user_errors(refusal: Refusal) -> list[UserError]:
    """The problems of a refusal as part of a payload; one of authentication is raised again, for the top level."""
    if isinstance(refusal, Unauthenticated):
        raise refusal
    return [
        UserError(
            code=problem.code,
            field=list(problem.field) or None,
            message=problem.message,
            retryable=problem.retryable,
            retry_after=problem.retry_after if problem.retryable else None,
        )
        for problem in refusal.problems
    ]


@strawberry.interface(description="Anything that can be fetched again by its id.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque, and unique across all types.")


@strawberry.type(description="Where a page of a connection begins and ends.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more follow behind `endCursor`.")
    has_previous_page: bool = strawberry.field(description="Whether this page starts behind a cursor.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first edge.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last edge: give it as `after`.")


@strawberry.type(description="One item of a page, with its cursor.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="Opaque position of this item; stays valid when others come or go.")
    node: T = strawberry.field(description="The item.")


@strawberry.type(description="One page of a list.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The items with their cursors.")
    nodes: list[T] = strawberry.field(description="The items alone.")
    page_info: PageInfo = strawberry.field(description="How to go on.")


@strawberry.type(description="A mail address and, where there is one, its display name.")
class Mailbox:
    email: str = strawberry.field(description="The address.")
    name: str | None = strawberry.field(description="The display name.")


@strawberry.type(description="A named set of grants. What no grant allows is refused.")
class Role(Node):
    name: str = strawberry.field(description="Unique.")
    description: str | None = strawberry.field(description="What it is for.")
    is_active: bool = strawberry.field(description="The keys of an inactive role open nothing.")
    grants: list[Grant] = strawberry.field(description="A grant for a service replaces the grant for all services.")
    limits: RecipientLimits = strawberry.field(description="Rate limits of all its keys and services together.")
    created_at: datetime = strawberry.field(description="When it was made.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")

    @classmethod
    def of(cls, row: access.Role) -> Self:
        return cls(
            id=strawberry.ID(public_id("role", row.id)),
            name=row.name,
            description=row.description,
            is_active=row.is_active,
            grants=[Grant.of(grant) for grant in row.grants],
            limits=RecipientLimits.of(row),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


@strawberry.type(description="What the SMTP server answered (RFC 5321 section 4.2).")
class Reply:
    code: int = strawberry.field(description="The three-digit reply code.")
    enhanced_code: str | None = strawberry.field(description="The enhanced status code (RFC 3463), e.g. 5.1.1.")
    text: str = strawberry.field(description="The text, without the codes.")

    @classmethod
    def of(cls, reply: SmtpReply | None) -> "Reply | None":
        return cls(code=reply.code, enhanced_code=reply.enhanced_code, text=reply.text) if reply else None


@strawberry.type(description="One attempt at one recipient.")
class Attempt:
    number: int = strawberry.field(description="Counted from 1.")
    started_at: datetime = strawberry.field(description="When it began.")
    finished_at: datetime = strawberry.field(description="When its result was written.")
    outcome: RecipientState = strawberry.field(description="The state it led to.")
    phase: str | None = strawberry.field(
        description="How far the session came when it failed: connect, greeting, ehlo, tls, auth, mail, rcpt, data,"
        " content or dot. Null when the server's reply decided."
    )
    in_doubt: bool = strawberry.field(
        description="The connection was lost after the final dot and before its reply, or the worker was lost: the"
        " server may have the mail."
    )
    reply: Reply | None = strawberry.field(description="The reply that decided, if there was one.")
    detail: str | None = strawberry.field(description="What happened, where there was no reply or it needs a hint.")
    service_name: str = strawberry.field(description="The service it went through: the message's, or a fallback.")
    fallback_reason: str | None = strawberry.field(
        description="With a fallback: why the server of the message's own service could not be talked to."
    )

    @classmethod
    def of(cls, row: StoredAttempt) -> Self:
        return cls(
            number=row.number,
            started_at=row.started_at,
            finished_at=row.finished_at,
            outcome=row.outcome,
            phase=row.phase,
            in_doubt=row.in_doubt,
            reply=Reply.of(row.reply),
            detail=row.detail,
            service_name=row.service_name,
            fallback_reason=row.fallback_reason,
        )


@strawberry.enum(description="Where the author named a recipient.")
class RecipientKind(Enum):
    TO = "to"
    CC = "cc"
    BCC = "bcc"


@strawberry.type(description="One recipient of a message. Each has a fate of its own.")
class Recipient:
    kind: RecipientKind = strawberry.field(description="To, Cc or Bcc.")
    email: str = strawberry.field(description="The address, as the author wrote it.")
    name: str | None = strawberry.field(description="The display name.")
    state: RecipientState = strawberry.field(description="Where it stands.")
    attempt_count: int = strawberry.field(description="How many attempts were begun.")
    next_attempt_at: datetime | None = strawberry.field(description="When it is to be tried (again).")
    reply: Reply | None = strawberry.field(description="The SMTP server's last reply for it.")
    detail: str | None = strawberry.field(description="What happened, where there was no reply or it needs a hint.")
    settled_at: datetime | None = strawberry.field(description="When its last state was reached.")
    row: strawberry.Private[StoredRecipient]

    @strawberry.field(description="Every attempt, oldest first.")
    async def attempts(self, info: Info) -> list[Attempt]:
        of_message = await info.context.attempts.load(self.row.message_id)
        return [Attempt.of(attempt) for attempt in of_message.get(self.row.id, ())]

    @classmethod
    def of(cls, row: StoredRecipient) -> Self:
        return cls(
            kind=RecipientKind(row.kind),
            email=row.email,
            name=row.name,
            state=row.state,
            attempt_count=row.attempt_number,
            next_attempt_at=row.next_attempt_at,
            reply=Reply.of(row.reply),
            detail=row.detail,
            settled_at=row.settled_at,
            row=row,
        )


@strawberry.type(description="One accepted mail.")
class Message(Node):
    service_name: str = strawberry.field(description="The service it was sent with; kept when that is deleted.")
    state: MessageState = strawberry.field(description="Derived from the recipients.")
    message_id_header: str = strawberry.field(description="Its Message-ID field; the same over all attempts.")
    sender: Mailbox = strawberry.field(name="from", description="Its From field.")
    subject: str | None = strawberry.field(description="Its subject, placeholders filled.")
    metadata: JSON = strawberry.field(description="The author's own data; never sent.")
    tags: list[str] = strawberry.field(description="The author's own labels; never sent.")
    size_bytes: int = strawberry.field(description="Size of header section and body.")
    priority: Priority = strawberry.field(description="Which of the mail that is due goes first.")
    on_doubt: OnDoubt = strawberry.field(
        description="What becomes of recipients of whom nobody can know whether the server took the mail for them."
    )
    template: MessageTemplate | None = strawberry.field(description="The stored template it was made from.")
    scheduled_at: datetime | None = strawberry.field(description="Not tried before this; null: at once.")
    expires_at: datetime | None = strawberry.field(description="Not tried from this on: then it expires.")
    created_at: datetime = strawberry.field(description="When it was accepted.")
    settled_at: datetime | None = strawberry.field(description="When its last recipient was settled.")
    row: strawberry.Private[StoredMessage]

    @strawberry.field(description="Its recipients, in the order they were named.")
    async def recipients(self, info: Info) -> list[Recipient]:
        return [Recipient.of(row) for row in await info.context.recipients.load(self.row.id)]

    @strawberry.field(description="Why it has not left yet, and when it probably will.")
    async def explain(self, info: Info) -> Explanation:
        recipients = await info.context.recipients.load(self.row.id)
        way = await info.context.ways.load(self.row.id) if self.row.settled_at is None else Way()
        return Explanation.of(self.row, recipients, way, now())

    @classmethod
    def of(cls, row: StoredMessage) -> Self:
        return cls(
            id=strawberry.ID(public_id("msg", row.id)),
            service_name=row.service_name,
            state=row.state,
            message_id_header=row.message_id_header,
            sender=Mailbox(email=row.from_email, name=row.from_name),
            subject=row.subject,
            metadata=JSON(row.metadata),
            tags=list(row.tags),
            size_bytes=row.size_bytes,
            priority=row.priority,
            on_doubt=row.on_doubt,
            template=MessageTemplate.of(row),
            scheduled_at=row.scheduled_at,
            expires_at=row.expires_at,
            created_at=row.created_at,
            settled_at=row.settled_at,
            row=row,
        )

"""Mail captured by the built-in inbox: types and queries."""

import base64
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry

from app.access.principal import Action
from app.database.key import public_id
from app.graphql.context import Info
from app.graphql.paging import After, First, key_of, page
from app.graphql.types import Connection, Node
from app.inbox.read import CapturedPart, ReadMail, StoredCapture, find_capture, list_captures, read_capture


@strawberry.type(description="One header field.")
class Header:
    name: str = strawberry.field(description="Its name.")
    value: str = strawberry.field(description="Its value, decoded.")


@strawberry.type(description="An attachment, or an inline image, of a captured mail.")
class CapturedAttachment:
    name: str | None = strawberry.field(description="The file name.")
    content_type: str = strawberry.field(description="The media type.")
    content_id: str | None = strawberry.field(description="How the html part refers to it (cid:), if it does.")
    size_bytes: int = strawberry.field(description="Size, decoded.")
    content: str = strawberry.field(description="The octets, in base64.")

    @classmethod
    def of(cls, part: CapturedPart) -> Self:
        return cls(
            name=part.name,
            content_type=part.content_type,
            content_id=part.content_id,
            size_bytes=len(part.octets),
            content=base64.b64encode(part.octets).decode(),
        )


@strawberry.type(description="A captured mail, taken apart.")
class CapturedContent:
    headers: list[Header] = strawberry.field(description="The header section, in its order.")
    text: str | None = strawberry.field(description="The plain text part.")
    html: str | None = strawberry.field(description="The html part.")
    attachments: list[CapturedAttachment] = strawberry.field(description="Attachments and inline images.")
    source: str = strawberry.field(description="The mail as it was received.")

    @classmethod
    def of(cls, mail: ReadMail) -> Self:
        return cls(
            headers=[Header(name=name, value=value) for name, value in mail.headers],
            text=mail.text,
            html=mail.html,
            attachments=[CapturedAttachment.of(part) for part in mail.parts],
            source=mail.source,
        )


@strawberry.type
class _Captured(Node):
    received_at: datetime = strawberry.field(description="When it arrived.")
    reverse_path: str = strawberry.field(description="The envelope's sender.")
    recipients: list[str] = strawberry.field(description="The envelope's recipients, Bcc among them.")
    sender: str | None = strawberry.field(name="from", description="The From field.")
    subject: str | None = strawberry.field(description="The Subject field.")
    size_bytes: int = strawberry.field(description="Size as received.")
    key: strawberry.Private[UUID]

    @classmethod
    def of(cls, row: StoredCapture) -> Self:
        return cls(
            id=strawberry.ID(public_id("cap", row.id)),
            received_at=row.received_at,
            reverse_path=row.reverse_path,
            recipients=list(row.recipients),
            sender=row.sender,
            subject=row.subject,
            size_bytes=row.size_bytes,
            key=row.id,
        )


@strawberry.type(description="A mail that a SANDBOX service delivered into the built-in inbox, as the list shows it.")
class CapturedSummary(_Captured):
    """Without the content, so that one request does not load that of a whole page. Not the base of CapturedMail: an
    instance must be of one type only, for `node` to tell which."""


@strawberry.type(description="A mail that a SANDBOX service delivered into the built-in inbox, with its content.")
class CapturedMail(_Captured):
    @strawberry.field(description="Header section, parts and raw source.")
    async def content(self) -> CapturedContent:
        return CapturedContent.of(await read_capture(self.key))


async def captured_mail(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The captured mail's id.")]
) -> CapturedMail | None:
    """The captured mail; null when there is none, or the API key may not read it."""
    scope = await info.context.scope(Action.READ_MESSAGES)
    key = key_of(id, "cap")
    found = await find_capture(key, scope) if key else None
    return CapturedMail.of(found) if found else None


async def inbox(info: Info, first: First, after: After = None) -> Connection[CapturedSummary]:
    """Mail that SANDBOX services delivered into the built-in inbox, newest first. One by one, `capturedMail` has the
    content."""
    scope = await info.context.scope(Action.READ_MESSAGES)

    async def load(after: UUID | None, limit: int) -> list[StoredCapture]:
        return await list_captures(scope, after=after, limit=limit)

    return await page(first, after, "cap", load, CapturedSummary.of)

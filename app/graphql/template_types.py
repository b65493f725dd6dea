"""The output types of stored templates."""

from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from app.database.key import public_id
from app.graphql.context import Info
from app.graphql.paging import After, First, page
from app.graphql.types import Connection, Mailbox, Node
from app.mail import address
from app.templates import content, models
from app.templates.content import VariableType
from app.templates.find import TEMPLATE_KIND
from app.templates.manage import list_versions

VERSION_KIND = "tver"

strawberry.enum(VariableType, description="What a declared variable takes. STRING takes numbers too.")


@strawberry.type(description="A {placeholder} that a template declares.")
class TemplateVariable:
    name: str = strawberry.field(description="The name in the braces.")
    type: VariableType = strawberry.field(description="What sendEmail takes for it.")
    required: bool = strawberry.field(
        description="Whether sendEmail refuses mail without a value; the REST route leaves the placeholder as it is."
    )
    default: JSON | None = strawberry.field(description="Its value where none, or null, is given.")

    @classmethod
    def of(cls, variable: content.Variable) -> Self:
        default = None if variable.default is None else JSON(variable.default)
        return cls(name=variable.name, type=variable.type, required=variable.required, default=default)


@strawberry.type(description="What a template holds, or held at one time. It fills in what a mail leaves out.")
class TemplateVersion(Node):
    number: int = strawberry.field(description="Counted from 1 within the template.")
    is_current: bool = strawberry.field(description="Whether mail is made from this one now.")
    subject: str | None = strawberry.field(description="The subject; may hold {placeholders}.")
    text: str | None = strawberry.field(description="The plain text part; may hold {placeholders}.")
    html: str | None = strawberry.field(description="The html part; may hold {placeholders}.")
    from_email: str | None = strawberry.field(description="Sender of mail that names none.")
    from_name: str | None = strawberry.field(description="Display name of that sender.")
    reply_to_email: str | None = strawberry.field(description="Reply-To of mail that names none.")
    reply_to_name: str | None = strawberry.field(description="Display name of that Reply-To.")
    to: list[Mailbox] = strawberry.field(description="Recipients of mail that names none.")
    cc: list[Mailbox] = strawberry.field(description="Recipients of a visible copy of mail that names none.")
    bcc: list[Mailbox] = strawberry.field(description="Recipients of a hidden copy of mail that names none.")
    variables: list[TemplateVariable] = strawberry.field(description="The variables it declares.")
    created_at: datetime = strawberry.field(description="When it was made.")

    @classmethod
    def of(cls, row: models.TemplateVersion) -> Self:
        held = content.content_of(vars(row))
        return cls(
            id=strawberry.ID(public_id(VERSION_KIND, row.id)),
            number=row.number,
            is_current=row.is_current,
            to=_mailboxes(held.to),
            cc=_mailboxes(held.cc),
            bcc=_mailboxes(held.bcc),
            variables=[TemplateVariable.of(variable) for variable in held.variables],
            created_at=row.created_at,
            **{name: getattr(held, name) for name in content.TEXT_FIELDS},
        )


@strawberry.type(description="A stored template, with every version of what it held.")
class Template(Node):
    number: int = strawberry.field(description="A short id: `template_id` of the REST route.")
    name: str = strawberry.field(description="Unique, in any case.")
    description: str | None = strawberry.field(description="What it is for.")
    created_at: datetime = strawberry.field(description="When it was made.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    row: strawberry.Private[models.Template]

    @strawberry.field(description="What mail is made from now.")
    async def current(self, info: Info) -> TemplateVersion:
        return TemplateVersion.of(await info.context.current_versions.load(self.row.id))

    @strawberry.field(description="Every version, newest first.")
    async def versions(self, first: First, after: After = None) -> Connection[TemplateVersion]:
        async def load(after: UUID | None, limit: int) -> list[models.TemplateVersion]:
            return await list_versions(self.row.id, after, limit)

        return await page(first, after, VERSION_KIND, load, TemplateVersion.of)

    @classmethod
    def of(cls, row: models.Template) -> Self:
        return cls(
            id=strawberry.ID(public_id(TEMPLATE_KIND, row.id)),
            number=row.number,
            name=row.name,
            description=row.description,
            created_at=row.created_at,
            updated_at=row.updated_at,
            row=row,
        )


def _mailboxes(held: tuple[address.Mailbox, ...]) -> list[Mailbox]:
    return [Mailbox(email=mailbox.email, name=mailbox.name) for mailbox in held]

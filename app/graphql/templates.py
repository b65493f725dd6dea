"""Inputs, queries and mutations of stored templates."""

import asyncio
from dataclasses import replace
from typing import Annotated, Any, cast
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from app.access.policy import require_for_all
from app.access.principal import Action
from app.database.key import public_id
from app.errors import ErrorCode, InvalidInput, NotFound, Problem, Refusal, Unauthenticated
from app.graphql.changes import given_changes
from app.graphql.context import Info, note_carried_out
from app.graphql.json_object import json_object
from app.graphql.mailbox_input import MailboxInput, mailboxes
from app.graphql.paging import After, First, key_of, page
from app.graphql.template_types import Template, TemplateVersion
from app.graphql.types import Connection, UserError, user_errors
from app.mail.draft import Draft, DraftLimits
from app.settings import Settings
from app.templates.check import TemplateLimits, TemplateValues
from app.templates.content import RECIPIENT_FIELDS, TemplateContent, Variable, VariableType
from app.templates.find import TEMPLATE_KIND, find_template, find_used_template
from app.templates.manage import (
    TemplateChanges,
    create_template,
    delete_template,
    get_template,
    get_version,
    list_templates,
    restore_version,
    update_template,
)
from app.templates.preview import Preview, preview_template


@strawberry.input(description="A {placeholder} that the template declares.")
class TemplateVariableInput:
    name: str = strawberry.field(description="What stands in the braces: up to 64 printable characters.")
    type: VariableType = strawberry.field(default=VariableType.STRING, description="What sendEmail takes for it.")
    required: bool = strawberry.field(default=False, description="Whether sendEmail refuses mail without a value.")
    default: JSON | None = strawberry.field(
        default=None, description="Its value where none, or null, is given; of the variable's type."
    )


@strawberry.input(description="A new template. It needs a subject, a text or an html part.")
class CreateTemplateInput:
    name: str = strawberry.field(description="1 to 128 characters, unique in any case.")
    number: int | None = strawberry.field(
        default=None, description="A short id, `template_id` of the REST route; the next one that is free when absent."
    )
    description: str | None = strawberry.field(default=None, description="What it is for.")
    subject: str | None = strawberry.field(default=None, description="The subject; may hold {placeholders}.")
    text: str | None = strawberry.field(default=None, description="The plain text part; may hold {placeholders}.")
    html: str | None = strawberry.field(default=None, description="The html part; may hold {placeholders}.")
    from_email: str | None = strawberry.field(default=None, description="Sender of mail that names none.")
    from_name: str | None = strawberry.field(default=None, description="Display name of that sender.")
    reply_to_email: str | None = strawberry.field(default=None, description="Reply-To of mail that names none.")
    reply_to_name: str | None = strawberry.field(default=None, description="Display name of that Reply-To.")
    to: list[MailboxInput] | None = strawberry.field(default=None, description="Recipients of mail that names none.")
    cc: list[MailboxInput] | None = strawberry.field(
        default=None, description="Recipients of a visible copy of mail that names none."
    )
    bcc: list[MailboxInput] | None = strawberry.field(
        default=None, description="Recipients of a hidden copy of mail that names none."
    )
    variables: list[TemplateVariableInput] | None = strawberry.field(
        default=None, description="Variables it declares; placeholders need no declaration."
    )


@strawberry.input(
    description="Changes of a template. What is absent stays; null clears. What it holds becomes a new version."
)
class UpdateTemplateInput:
    id: strawberry.ID = strawberry.field(description="The template's id.")
    name: strawberry.Maybe[str | None] = strawberry.field(default=None, description="The new name.")
    description: strawberry.Maybe[str | None] = strawberry.field(default=None, description="What it is for.")
    subject: strawberry.Maybe[str | None] = strawberry.field(default=None, description="The subject.")
    text: strawberry.Maybe[str | None] = strawberry.field(default=None, description="The plain text part.")
    html: strawberry.Maybe[str | None] = strawberry.field(default=None, description="The html part.")
    from_email: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Default sender.")
    from_name: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Its display name.")
    reply_to_email: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Default Reply-To.")
    reply_to_name: strawberry.Maybe[str | None] = strawberry.field(default=None, description="Its display name.")
    to: strawberry.Maybe[list[MailboxInput] | None] = strawberry.field(
        default=None, description="Default recipients; replaces all of them."
    )
    cc: strawberry.Maybe[list[MailboxInput] | None] = strawberry.field(
        default=None, description="Default recipients of a visible copy; replaces all of them."
    )
    bcc: strawberry.Maybe[list[MailboxInput] | None] = strawberry.field(
        default=None, description="Default recipients of a hidden copy; replaces all of them."
    )
    variables: strawberry.Maybe[list[TemplateVariableInput] | None] = strawberry.field(
        default=None, description="The declared variables; replaces all of them."
    )


@strawberry.input(description="Which version of a template is to be current again.")
class RestoreTemplateVersionInput:
    id: strawberry.ID = strawberry.field(description="The template's id.")
    version: int = strawberry.field(description="The version's number.")


@strawberry.input(description="Which template to delete.")
class DeleteTemplateInput:
    id: strawberry.ID = strawberry.field(description="The template's id.")


@strawberry.input(description="Which template to fill, with which values.")
class PreviewTemplateInput:
    template: str = strawberry.field(description="The template's name, in any case, or its id.")
    template_data: JSON | None = strawberry.field(
        default=None, description="Object of values for {placeholders}; HTML-escaped in the html part."
    )


@strawberry.type(description="The template as it is now, or why nothing changed.")
class TemplatePayload:
    template: Template | None = strawberry.field(description="The template.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


@strawberry.type(description="The id of the deleted template, or why it is still there.")
class DeleteTemplatePayload:
    deleted_template_id: strawberry.ID | None = strawberry.field(description="The id it had.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


@strawberry.type(description="What mail made from a template would hold.")
class TemplatePreview:
    version: int = strawberry.field(description="The version that is current.")
    subject: str | None = strawberry.field(description="The subject, placeholders filled.")
    text: str | None = strawberry.field(description="The plain text part, placeholders filled.")
    html: str | None = strawberry.field(description="The html part, placeholders filled.")
    missing_variables: list[str] = strawberry.field(description="Required variables without a value.")
    unfilled_placeholders: list[str] = strawberry.field(description="Placeholders that nothing fills.")

    @classmethod
    def of(cls, preview: Preview, version: int) -> "TemplatePreview":
        return cls(
            version=version,
            subject=preview.subject,
            text=preview.text,
            html=preview.html,
            missing_variables=list(preview.missing),
            unfilled_placeholders=list(preview.unfilled),
        )


@strawberry.type(description="The preview, or why there is none.")
class PreviewTemplatePayload:
    preview: TemplatePreview | None = strawberry.field(description="What mail would hold.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


async def template(
    info: Info, name: Annotated[str, strawberry.argument(description="The template's name, in any case.")]
) -> Template | None:
    """The template; null when there is none. Needs MANAGE_TEMPLATES."""
    require_for_all(await info.context.principal(), Action.MANAGE_TEMPLATES)
    found = await find_template(name)
    return Template.of(found) if found else None


async def template_node(kind: str, key: UUID) -> Template | TemplateVersion | None:
    """The template, or the version, with this key. Whether the API key may see it is checked before."""
    try:
        if kind == TEMPLATE_KIND:
            return Template.of(await get_template(key))
        return TemplateVersion.of(await get_version(key))
    except NotFound:
        return None


async def templates(info: Info, first: First, after: After = None) -> Connection[Template]:
    """All templates, in the order they were made. Needs MANAGE_TEMPLATES."""
    require_for_all(await info.context.principal(), Action.MANAGE_TEMPLATES)
    return await page(first, after, TEMPLATE_KIND, list_templates, Template.of)


async def preview(
    info: Info, input: Annotated[PreviewTemplateInput, strawberry.argument(description="Which one, and the values.")]
) -> PreviewTemplatePayload:
    """Fill a template without sending anything. Needs MANAGE_TEMPLATES."""
    try:
        require_for_all(await info.context.principal(), Action.MANAGE_TEMPLATES)
        draft = Draft(template=input.template, template_data=_values(input.template_data))
        found = await find_used_template(draft)
        assert found is not None, "the draft names one"
        limits = DraftLimits.of(info.context.parts.settings)
        filled = await asyncio.to_thread(preview_template, draft, found, limits)
    except Refusal as refusal:
        return PreviewTemplatePayload(preview=None, user_errors=user_errors(_as_input(refusal)))
    return PreviewTemplatePayload(preview=TemplatePreview.of(filled, found.version), user_errors=[])


async def create(
    info: Info, input: Annotated[CreateTemplateInput, strawberry.argument(description="The template.")]
) -> TemplatePayload:
    """Make a template; what it holds is its version 1. Needs MANAGE_TEMPLATES."""
    given = {name: _held(name, value) for name, value in vars(input).items()}
    own = {name: given.pop(name) for name in ("name", "number", "description")}
    try:
        principal = await info.context.principal()
        values = TemplateValues(**own, content=TemplateContent(**given))
        made = await create_template(values, principal, _limits(info.context.parts.settings))
    except Refusal as refusal:
        return TemplatePayload(template=None, user_errors=user_errors(_as_input(refusal)))
    note_carried_out(info, public_id(TEMPLATE_KIND, made.id))
    return TemplatePayload(template=Template.of(made), user_errors=[])


async def update(
    info: Info, input: Annotated[UpdateTemplateInput, strawberry.argument(description="The changes.")]
) -> TemplatePayload:
    """Change a template. What it holds becomes a new version, which mail is made from at once; the earlier ones stay.
    Needs MANAGE_TEMPLATES."""
    try:
        principal = await info.context.principal()
        changes = {field: _held(field, value) for field, value in given_changes(input, "name").items()}
        limits = _limits(info.context.parts.settings)
        changed = await update_template(_key(input.id), cast(TemplateChanges, changes), principal, limits)
    except Refusal as refusal:
        return TemplatePayload(template=None, user_errors=user_errors(_as_input(refusal)))
    note_carried_out(info, input.id)
    return TemplatePayload(template=Template.of(changed), user_errors=[])


async def restore(
    info: Info, input: Annotated[RestoreTemplateVersionInput, strawberry.argument(description="Which version.")]
) -> TemplatePayload:
    """Make another version of a template the current one; all versions stay. Needs MANAGE_TEMPLATES."""
    try:
        principal = await info.context.principal()
        restored = await restore_version(_key(input.id), input.version, principal)
    except Refusal as refusal:
        return TemplatePayload(template=None, user_errors=user_errors(refusal))
    note_carried_out(info, input.id)
    return TemplatePayload(template=Template.of(restored), user_errors=[])


async def delete(
    info: Info, input: Annotated[DeleteTemplateInput, strawberry.argument(description="Which one.")]
) -> DeleteTemplatePayload:
    """Delete a template with all its versions. Mail made from it stays as it is. Needs MANAGE_TEMPLATES."""
    try:
        principal = await info.context.principal()
        await delete_template(_key(input.id), principal)
    except Refusal as refusal:
        return DeleteTemplatePayload(deleted_template_id=None, user_errors=user_errors(refusal))
    note_carried_out(info, input.id)
    return DeleteTemplatePayload(deleted_template_id=input.id, user_errors=[])


def _limits(settings: Settings) -> TemplateLimits:
    return TemplateLimits(DraftLimits.of(settings), settings.max_template_variables)


def _held(name: str, value: Any) -> Any:
    """The value of one field, as the template holds it."""
    if name in RECIPIENT_FIELDS:
        return mailboxes(value)
    if name == "variables":
        return tuple(Variable(**vars(variable)) for variable in value or ())
    return value


def _values(given: Any) -> dict[str, Any]:
    problems: list[Problem] = []
    values = json_object(given, "templateData", problems)
    if problems:
        raise InvalidInput(problems=problems)
    return values


def _as_input(refusal: Refusal) -> Refusal:
    """The refusal with its fields named as the inputs name them."""
    if isinstance(refusal, Unauthenticated):
        return refusal
    return Refusal(problems=[replace(problem, field=_input_path(problem.field)) for problem in refusal.problems])


def _input_path(path: tuple[str, ...]) -> tuple[str, ...]:
    if not path:
        return path
    first, *rest = path[0].split("_")
    return ("".join((first, *(word.capitalize() for word in rest))), *path[1:])


def _key(text: str) -> UUID:
    key = key_of(text, TEMPLATE_KIND)
    if key is None:
        raise NotFound("There is no such template.", code=ErrorCode.TEMPLATE_NOT_FOUND, field=("id",))
    return key

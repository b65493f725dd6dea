"""Make, change and remove templates, and find the one a mail asks for.

What changes something takes the principal who asks, `by`, and needs MANAGE_TEMPLATES; None is the operator at the
machine, who may do everything. Reading is checked by the doors, with `require_for_all`.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from tortoise.exceptions import IntegrityError

from app import clock
from app.access.policy import require_manage
from app.access.principal import Action, Principal
from app.audit.record import AuditAction, record
from app.database.connection import rows, transaction
from app.errors import Conflict, ErrorCode, InvalidInput, NotFound
from app.mail.address import Mailbox
from app.templates.check import MAX_NUMBER, TemplateLimits, TemplateValues, check_template
from app.templates.content import (
    TEXT_FIELDS,
    TemplateContent,
    Variable,
    content_of,
    is_same,
    stored_recipients,
    stored_variables,
    without_empty_texts,
)
from app.templates.facts import template_facts, template_subject
from app.templates.models import Template, TemplateVersion

_TRIES_AT_A_NUMBER = 20


class TemplateChanges(TypedDict, total=False):
    """What to change of a template; what is absent stays, None (or an empty list) clears."""

    name: str
    description: str | None
    subject: str | None
    text: str | None
    html: str | None
    from_email: str | None
    from_name: str | None
    reply_to_email: str | None
    reply_to_name: str | None
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    bcc: tuple[Mailbox, ...]
    variables: tuple[Variable, ...]


async def create_template(
    values: TemplateValues,
    by: Principal | None,
    limits: TemplateLimits,
    *,
    now: Callable[[], datetime] = clock.now,
) -> Template:
    """The new template; what it holds is version 1.

    Raises InvalidInput with every problem, Conflict NAME_TAKEN (for a number that is taken, too), Forbidden.
    """
    require_manage(by, Action.MANAGE_TEMPLATES)
    _refuse_problems(values, limits)
    content = without_empty_texts(values.content)
    for _ in range(_TRIES_AT_A_NUMBER):
        template = _new_template(values, now())
        try:
            async with transaction():
                template.number = values.number or await _free_number()
                await template.save(force_create=True)
                await _put_version(template.id, 1, content, template.created_at)
                facts = template_facts(template, 1, content)
                subject, moment = template_subject(template), template.created_at
                await record(by, AuditAction.CREATE_TEMPLATE, subject, moment, after=facts)
            return template
        except IntegrityError:
            await _refuse_taken(template.id, values.name, values.number)
    raise Conflict("Other templates are being made right now. Try again.", retryable=True)


async def update_template(
    template_id: UUID,
    changes: TemplateChanges,
    by: Principal | None,
    limits: TemplateLimits,
    *,
    now: Callable[[], datetime] = clock.now,
) -> Template:
    """The changed template. What it holds, if that changes, becomes a new version, which is current from now on.

    Raises NotFound, InvalidInput with every problem, Conflict NAME_TAKEN, Forbidden.
    """
    require_manage(by, Action.MANAGE_TEMPLATES)
    async with _unique_name(template_id, changes.get("name")), _changing(template_id) as template:
        current = await TemplateVersion.get(template_id=template_id, is_current=True)
        before = content_of(vars(current))
        values = _changed(template, before, changes)
        _refuse_problems(values, limits)
        told, number = template_facts(template, current.number, before), current.number
        template.name, template.name_key = values.name.strip(), name_key(values.name)
        template.description = values.description or None
        template.updated_at = now()
        await template.save()
        if not is_same(values.content, before):
            await TemplateVersion.filter(id=current.id).update(is_current=False)
            number = await _newest(template_id) + 1
            await _put_version(template_id, number, values.content, template.updated_at)
        facts, subject = template_facts(template, number, values.content), template_subject(template)
        await record(by, AuditAction.UPDATE_TEMPLATE, subject, template.updated_at, before=told, after=facts)
    return template


async def restore_version(
    template_id: UUID, number: int, by: Principal | None, *, now: Callable[[], datetime] = clock.now
) -> Template:
    """The template, its version `number` current again; all versions stay. Raises NotFound, Forbidden."""
    require_manage(by, Action.MANAGE_TEMPLATES)
    async with _changing(template_id) as template:
        wanted = await TemplateVersion.get_or_none(template_id=template_id, number=number)
        if wanted is None:
            raise NotFound(f"The template has no version {number}.", field=("version",))
        before = await _current_facts(template)
        await TemplateVersion.filter(template_id=template_id, is_current=True).update(is_current=False)
        await TemplateVersion.filter(id=wanted.id).update(is_current=True)
        template.updated_at = now()
        await template.save()
        after, subject = await _current_facts(template), template_subject(template)
        action = AuditAction.RESTORE_TEMPLATE_VERSION
        await record(by, action, subject, template.updated_at, before=before, after=after)
    return template


async def delete_template(template_id: UUID, by: Principal | None, *, now: Callable[[], datetime] = clock.now) -> None:
    """Remove the template with its versions. Mail made from it stays as it is. Raises NotFound, Forbidden."""
    require_manage(by, Action.MANAGE_TEMPLATES)
    async with _changing(template_id) as template:
        before = await _current_facts(template)
        await Template.filter(id=template_id).delete()
        await record(by, AuditAction.DELETE_TEMPLATE, template_subject(template), now(), before=before)


async def get_template(template_id: UUID) -> Template:
    """Raises NotFound."""
    template = await Template.get_or_none(id=template_id)
    if template is None:
        raise no_such_template()
    return template


async def list_templates(after: UUID | None, limit: int) -> list[Template]:
    """At most `limit` templates in the order they were made, from the one behind `after`."""
    query = Template.all() if after is None else Template.filter(id__gt=after)
    return await query.order_by("id").limit(limit)


async def list_versions(template_id: UUID, after: UUID | None, limit: int) -> list[TemplateVersion]:
    """At most `limit` versions of the template, newest first, from the one behind `after`.

    Raises InvalidInput where `after` is no version of it.
    """
    query = TemplateVersion.filter(template_id=template_id)
    if after is not None:
        behind = await TemplateVersion.get_or_none(id=after, template_id=template_id)
        if behind is None:
            raise InvalidInput("after is not a cursor of this list.", field=("after",))
        query = query.filter(number__lt=behind.number)
    return await query.order_by("-number").limit(limit)


async def get_version(version_id: UUID) -> TemplateVersion:
    """Raises NotFound."""
    version = await TemplateVersion.get_or_none(id=version_id)
    if version is None:
        raise no_such_template()
    return version


async def current_versions(template_ids: Collection[UUID]) -> Mapping[UUID, TemplateVersion]:
    """The current version of each template."""
    found = await TemplateVersion.filter(template_id__in=list(template_ids), is_current=True)
    return {version.template_id: version for version in found}


def name_key(name: str) -> str:
    """Equal for two spellings of one name: names are told apart without regard to case."""
    return name.strip().casefold()


def _refuse_problems(values: TemplateValues, limits: TemplateLimits) -> None:
    problems = check_template(values, limits)
    if problems:
        raise InvalidInput(problems=problems)


def _new_template(values: TemplateValues, moment: datetime) -> Template:
    return Template(
        name=values.name.strip(),
        name_key=name_key(values.name),
        description=values.description or None,
        created_at=moment,
        updated_at=moment,
    )


async def _free_number() -> int:
    """One more than the highest; where that would be too high, the lowest that is free."""
    (row,) = await rows("SELECT COALESCE(MAX(number), 0) AS highest FROM template")
    if row["highest"] < MAX_NUMBER:
        return int(row["highest"]) + 1
    (row,) = await rows(
        "SELECT MIN(taken.number) + 1 AS number FROM (SELECT 0 AS number UNION ALL SELECT number FROM template) taken"
        " WHERE NOT EXISTS (SELECT 1 FROM template WHERE template.number - 1 = taken.number)"
    )
    return int(row["number"])


async def _newest(template_id: UUID) -> int:
    (row,) = await rows("SELECT MAX(number) AS number FROM template_version WHERE template_id = $1", template_id)
    return int(row["number"])


async def _put_version(template_id: UUID, number: int, content: TemplateContent, moment: datetime) -> None:
    await TemplateVersion.create(
        template_id=template_id,
        number=number,
        is_current=True,
        recipients=stored_recipients(content),
        variables=stored_variables(content),
        created_at=moment,
        **{name: getattr(content, name) for name in TEXT_FIELDS},
    )


@asynccontextmanager
async def _changing(template_id: UUID) -> AsyncIterator[Template]:
    """A transaction that holds the template, so that one change comes after the other."""
    async with transaction():
        template = await Template.filter(id=template_id).select_for_update().first()
        if template is None:
            raise no_such_template()
        yield template


async def _current_facts(template: Template) -> Mapping[str, object]:
    current = await TemplateVersion.get(template_id=template.id, is_current=True)
    return template_facts(template, current.number, content_of(vars(current)))


def _changed(template: Template, before: TemplateContent, changes: TemplateChanges) -> TemplateValues:
    own: dict[str, Any] = {"name": template.name, "description": template.description, "number": template.number}
    given: dict[str, Any] = dict(changes)
    own |= {name: given.pop(name) for name in ("name", "description") if name in given}
    return TemplateValues(**own, content=without_empty_texts(replace(before, **given)))


@asynccontextmanager
async def _unique_name(template_id: UUID, name: str | None) -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        await _refuse_taken(template_id, name, None)
        raise


async def _refuse_taken(template_id: UUID, name: str | None, number: int | None) -> None:
    others = Template.exclude(id=template_id)
    if name is not None and await others.filter(name_key=name_key(name)).exists():
        message = f"There is a template named {name.strip()!r} already."
        raise Conflict(message, code=ErrorCode.NAME_TAKEN, field=("name",)) from None
    if number is not None and await others.filter(number=number).exists():
        message = f"There is a template with the number {number} already."
        raise Conflict(message, code=ErrorCode.NAME_TAKEN, field=("number",)) from None


def no_such_template() -> NotFound:
    """Says that it does not exist, or was deleted meanwhile."""
    return NotFound("There is no such template.", code=ErrorCode.TEMPLATE_NOT_FOUND, field=("id",))

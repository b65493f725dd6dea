"""Templates in the database, made and changed as the operator does."""

from typing import Any
from uuid import UUID

from app.templates.check import TemplateLimits, TemplateValues
from app.templates.content import TemplateContent, content_of
from app.templates.manage import TemplateChanges, create_template, update_template
from app.templates.models import Template, TemplateVersion
from tests.factories import NOW, after

LIMITS = TemplateLimits()
LATER = after(60)


async def make(name: str = "Welcome", number: int | None = None, **content: Any) -> Template:
    """A template that says hello, unless its content says otherwise."""
    held = TemplateContent(**{"text": "Hello.", **content})
    return await create_template(TemplateValues(name, number=number, content=held), None, LIMITS, now=lambda: NOW)


async def change(template: Template, changes: TemplateChanges) -> Template:
    """The same, changed a minute later."""
    return await update_template(template.id, changes, None, LIMITS, now=lambda: LATER)


async def versions(template_id: UUID) -> list[tuple[int, bool, str | None]]:
    """Number, whether it is current, and text of each version, oldest first."""
    found = await TemplateVersion.filter(template_id=template_id).order_by("number")
    return [(version.number, version.is_current, version.text) for version in found]


async def current(template_id: UUID) -> TemplateContent:
    """What it holds now."""
    return content_of(vars(await TemplateVersion.get(template_id=template_id, is_current=True)))

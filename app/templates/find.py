"""Find the template that a mail asks for."""

from app.database.key import parse_public_id
from app.errors import ErrorCode, NotFound
from app.mail.characters import shown, unstorable
from app.mail.draft import Draft
from app.templates.check import MAX_NAME_CHARS, MAX_NUMBER
from app.templates.content import UsedTemplate, content_of
from app.templates.manage import name_key
from app.templates.models import Template, TemplateVersion

TEMPLATE_KIND = "tmpl"
"""What the public ids of templates begin with."""


async def find_template(name: str) -> Template | None:
    """The template of this name, in any case."""
    return await Template.get_or_none(name_key=name_key(name)) if _may_be_a_name(name) else None


async def find_used_template(draft: Draft) -> UsedTemplate | None:
    """The current version of the template that the draft names; None where it names none.

    `template` is a name in any case, or an id; it wins over `template_id`: a number, or else a name or an id.
    Raises NotFound TEMPLATE_NOT_FOUND.
    """
    if draft.template is not None:
        return _used(await _by_name(draft.template), draft.template, "template")
    if draft.template_id is not None:
        found = await (_by_number if draft.template_id.isdecimal() else _by_name)(draft.template_id)
        return _used(found, draft.template_id, "template_id")
    return None


async def _by_number(text: str) -> TemplateVersion | None:
    if len(text) > len(str(MAX_NUMBER)) or int(text) > MAX_NUMBER:
        return None
    return await TemplateVersion.get_or_none(template__number=int(text), is_current=True).select_related("template")


async def _by_name(name: str) -> TemplateVersion | None:
    kind, key = parse_public_id(name.strip()) or (None, None)
    if kind == TEMPLATE_KIND:
        return await TemplateVersion.get_or_none(template_id=key, is_current=True).select_related("template")
    if not _may_be_a_name(name):
        return None
    found = TemplateVersion.get_or_none(template__name_key=name_key(name), is_current=True)
    return await found.select_related("template")


def _may_be_a_name(text: str) -> bool:
    """Whether the database can be asked for it: what is longer than any name is refused there."""
    return not unstorable(text) and len(text.strip()) <= MAX_NAME_CHARS


def _used(found: TemplateVersion | None, wanted: str, field: str) -> UsedTemplate:
    if found is None:
        message = f"Email Template '{shown(wanted)}' not found"
        raise NotFound(message, code=ErrorCode.TEMPLATE_NOT_FOUND, field=(field,))
    return UsedTemplate(found.template_id, found.template.name, found.number, content_of(vars(found)))

"""What the audit log tells of templates. Pure."""

from collections.abc import Mapping
from dataclasses import asdict

from msgspec import structs

from app.audit.record import Subject
from app.templates.content import RECIPIENT_FIELDS, TEXT_FIELDS, TemplateContent
from app.templates.models import Template

_FIELDS = {
    "from_email": "fromEmail",
    "from_name": "fromName",
    "reply_to_email": "replyToEmail",
    "reply_to_name": "replyToName",
}


def template_subject(template: Template) -> Subject:
    """The template, as an audit entry names it."""
    return Subject("tmpl", template.id, template.name)


def template_facts(template: Template, version: int, content: TemplateContent) -> Mapping[str, object]:
    """The template with the content of its current version, by the names of their GraphQL fields."""
    return {
        "name": template.name,
        "number": template.number,
        "description": template.description,
        "version": version,
        **{_FIELDS.get(name, name): getattr(content, name) for name in TEXT_FIELDS},
        **{name: [structs.asdict(mailbox) for mailbox in getattr(content, name)] or None for name in RECIPIENT_FIELDS},
        "variables": [asdict(variable) for variable in content.variables] or None,
    }

"""The tables of stored templates and their versions."""

from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key


class Template(Model):
    """A named template; what it holds is in its versions, one of which is current.

    `number` is a short id for clients that know templates by an integer. `name_key` is the name in the form in which
    it is compared: case-folded.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    number = fields.IntField()
    name = fields.CharField(max_length=128)
    name_key = fields.CharField(max_length=384)
    description: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    created_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()

    versions: fields.ReverseRelation["TemplateVersion"]

    class Meta:
        table = "template"


class TemplateVersion(Model):
    """What a template held at one time; never changed but for `is_current`. `number` counts from 1 within the template.

    `recipients` are those of mail that names none: a JSON object of `to`, `cc` and `bcc`, each a list of {email, name}.
    `variables` is a JSON list of {name, type, required, default}, the default as JSON text.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    template: fields.ForeignKeyRelation[Template] = fields.ForeignKeyField(
        "heliograph.Template", related_name="versions", on_delete=fields.CASCADE
    )
    template_id: UUID
    number = fields.IntField()
    is_current = fields.BooleanField()
    subject: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    text: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    html: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    from_email = fields.CharField(max_length=320, null=True)
    from_name = fields.CharField(max_length=256, null=True)
    reply_to_email = fields.CharField(max_length=320, null=True)
    reply_to_name = fields.CharField(max_length=256, null=True)
    recipients: fields.JSONField[dict[str, list[dict[str, Any]]]] = fields.JSONField()
    variables: fields.JSONField[list[dict[str, Any]]] = fields.JSONField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "template_version"

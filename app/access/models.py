"""The tables of roles, their grants, and API keys."""

from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key


class Role(Model):
    """A named set of grants. Nothing is allowed that no grant allows."""

    id = fields.UUIDField(primary_key=True, default=new_key)
    name = fields.CharField(max_length=64)
    description: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    is_active = fields.BooleanField(default=True)
    recipients_per_minute = fields.IntField(null=True)
    recipients_per_hour = fields.IntField(null=True)
    recipients_per_day = fields.IntField(null=True)
    created_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()

    grants: fields.ReverseRelation["Grant"]

    class Meta:
        table = "role"


class Grant(Model):
    """Actions a role may do with one service, or with every service where `service` is null.

    `actions` is a JSON list of action names, `restrictions` a JSON object of which mail SEND covers (restrictions.py);
    null: any. A row for a service replaces the row for all services, as a whole.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    role: fields.ForeignKeyRelation[Role] = fields.ForeignKeyField(
        "heliograph.Role", related_name="grants", on_delete=fields.CASCADE
    )
    role_id: UUID
    service: fields.ForeignKeyNullableRelation[Model] = fields.ForeignKeyField(
        "heliograph.Service", related_name="grants", null=True, on_delete=fields.CASCADE
    )
    service_id: UUID | None
    actions: fields.JSONField[list[str]] = fields.JSONField()
    restrictions: fields.Field[dict[str, Any] | None] = fields.JSONField(null=True)
    recipients_per_minute = fields.IntField(null=True)
    recipients_per_hour = fields.IntField(null=True)
    recipients_per_day = fields.IntField(null=True)

    class Meta:
        table = "access_grant"


class ApiKey(Model):
    """An API key, stored as its first characters (to recognise it by) and the SHA-256 of the whole.

    `previous_*`: the secret that the last rotation replaced; it works until `previous_expires_at`. `last_used_at` is of
    the present secret. `allowed_networks` is a JSON list of networks (networks.py); null: any.
    `origins`, `restrictions` and the limits per client address are those of a browser key (browser.py): a JSON list and
    a JSON object; null: it is none.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    name = fields.CharField(max_length=64)
    role: fields.ForeignKeyRelation[Role] = fields.ForeignKeyField(
        "heliograph.Role", related_name="api_keys", on_delete=fields.CASCADE
    )
    role_id: UUID
    prefix = fields.CharField(max_length=16)
    digest = fields.CharField(max_length=64)
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)
    last_used_at = fields.DatetimeField(null=True)
    previous_prefix = fields.CharField(max_length=16, null=True)
    previous_digest = fields.CharField(max_length=64, null=True)
    previous_expires_at = fields.DatetimeField(null=True)
    previous_last_used_at = fields.DatetimeField(null=True)
    allowed_networks: fields.Field[list[str] | None] = fields.JSONField(null=True)
    recipients_per_minute = fields.IntField(null=True)
    recipients_per_hour = fields.IntField(null=True)
    recipients_per_day = fields.IntField(null=True)
    origins: fields.Field[list[str] | None] = fields.JSONField(null=True)
    restrictions: fields.Field[dict[str, Any] | None] = fields.JSONField(null=True)
    client_recipients_per_minute = fields.IntField(null=True)
    client_recipients_per_hour = fields.IntField(null=True)
    client_recipients_per_day = fields.IntField(null=True)

    class Meta:
        table = "api_key"

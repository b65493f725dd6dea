"""The table of administrative changes."""

from typing import Any

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key


class AuditEntry(Model):
    """One administrative change; never changed, and not deleted on its first day: the database refuses both.

    No foreign keys: an entry outlives what it tells of. `actor` is the kind of who did it; role and API key, as they
    were named then, are null unless it was an API key. `subject_kind` is that of public ids. `before` and `after` are
    JSON objects of what differs.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    at = fields.DatetimeField()
    actor = fields.CharField(max_length=16)
    role_id = fields.UUIDField(null=True)
    role_name = fields.CharField(max_length=64, null=True)
    api_key_id = fields.UUIDField(null=True)
    api_key_name = fields.CharField(max_length=64, null=True)
    origin = fields.CharField(max_length=64, null=True)
    action = fields.CharField(max_length=40)
    subject_kind = fields.CharField(max_length=8)
    subject_id = fields.UUIDField()
    subject_name = fields.CharField(max_length=128, null=True)
    before: fields.JSONField[dict[str, Any]] = fields.JSONField()
    after: fields.JSONField[dict[str, Any]] = fields.JSONField()

    class Meta:
        table = "audit_entry"

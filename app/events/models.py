"""The table of events."""

from typing import Any

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key


class Event(Model):
    """Something that happened to a message, or to one of its recipients.

    The table's own key is `message_id` and `id`: events are found by their message.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    message: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "heliograph.Message", related_name="events", on_delete=fields.CASCADE
    )
    recipient: fields.ForeignKeyNullableRelation[Model] = fields.ForeignKeyField(
        "heliograph.Recipient", related_name="events", null=True, on_delete=fields.CASCADE, db_constraint=False
    )
    type = fields.CharField(max_length=32)
    data: fields.JSONField[dict[str, Any]] = fields.JSONField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "event"

"""The tables of limits. `subject` is the key of what is limited; no foreign key, what is deleted is purged by age.

`counter` is no model: it has a key of three columns, for which Tortoise has no field.
"""

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key


class Pace(Model):
    """The last turn a subject was given, and until when nothing more is free; who takes for it locks this row."""

    subject = fields.UUIDField(primary_key=True, default=new_key)
    last_turn_at = fields.DatetimeField(null=True)
    free_at = fields.DatetimeField(null=True)

    class Meta:
        table = "pace"

"""The tables of limits. `subject` is the key of what is limited; no foreign key, what is deleted is purged by age."""

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key


class Counter(Model):
    """How many a subject took within one bucket of a window."""

    id = fields.UUIDField(primary_key=True, default=new_key)
    subject = fields.UUIDField()
    span = fields.CharField(max_length=8)
    starts_at = fields.DatetimeField()
    used = fields.IntField()

    class Meta:
        table = "counter"


class Pace(Model):
    """The last turn a subject was given, and until when nothing more is free; who takes for it locks this row."""

    subject = fields.UUIDField(primary_key=True, default=new_key)
    last_turn_at = fields.DatetimeField(null=True)
    free_at = fields.DatetimeField(null=True)

    class Meta:
        table = "pace"

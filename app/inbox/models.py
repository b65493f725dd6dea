"""The table of captured mail."""

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key
from app.services.models import Service


class CapturedMail(Model):
    """A mail that a SANDBOX service delivered into the inbox: its envelope and its bytes as received."""

    id = fields.UUIDField(primary_key=True, default=new_key)
    service: fields.ForeignKeyRelation[Service] = fields.ForeignKeyField(
        "heliograph.Service", related_name="captured", on_delete=fields.CASCADE
    )
    received_at = fields.DatetimeField()
    reverse_path = fields.CharField(max_length=320)
    recipients: fields.JSONField[list[str]] = fields.JSONField()
    message_id_header = fields.CharField(max_length=255, null=True)
    sender = fields.TextField(null=True)
    subject = fields.TextField(null=True)
    size_bytes = fields.IntField()
    octets = fields.BinaryField()

    class Meta:
        table = "captured_mail"

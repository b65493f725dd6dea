"""What an author or operator may ask for: a time to send, a time to expire, a pause."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from app.database.operations import RunSql


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0001_initial")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Message",
            name="scheduled_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="Message",
            name="expires_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="Recipient",
            name="tried_since",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="Service",
            name="paused_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(model_name="Service", name="paused_reason", field=fields.TextField(null=True, unique=False)),
        RunSql(
            [
                "CREATE INDEX message_expires ON message (expires_at) WHERE settled_at IS NULL AND expires_at IS NOT NULL",
            ],
            reverse=["DROP INDEX message_expires"],
        ),
    ]

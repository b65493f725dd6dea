"""The secret that a rotation replaced, and from where an API key may be used."""

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops

from app.database.operations import RunSql


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0009_audit")]

    initial = False

    operations = [
        ops.AddField(model_name="ApiKey", name="previous_prefix", field=fields.CharField(null=True, max_length=16)),
        ops.AddField(model_name="ApiKey", name="previous_digest", field=fields.CharField(null=True, max_length=64)),
        ops.AddField(
            model_name="ApiKey",
            name="previous_expires_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="ApiKey",
            name="previous_last_used_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="ApiKey",
            name="allowed_networks",
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        RunSql(
            ["CREATE UNIQUE INDEX api_key_previous_digest ON api_key (previous_digest)"],
            reverse=["DROP INDEX api_key_previous_digest"],
        ),
    ]

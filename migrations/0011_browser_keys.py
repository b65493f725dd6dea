"""Browser keys: what an API key in a public page is bound to.

Undone, it takes the browser keys with it: a version that knows no such thing would let them do all that their role may.
"""

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops

from app.database.operations import RunSql


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0010_key_rotation")]

    initial = False

    operations = [
        ops.AddField(
            model_name="ApiKey",
            name="origins",
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(
            model_name="ApiKey",
            name="restrictions",
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(model_name="ApiKey", name="client_recipients_per_minute", field=fields.IntField(null=True)),
        ops.AddField(model_name="ApiKey", name="client_recipients_per_hour", field=fields.IntField(null=True)),
        ops.AddField(model_name="ApiKey", name="client_recipients_per_day", field=fields.IntField(null=True)),
        RunSql(
            ["CREATE INDEX api_key_of_browsers ON api_key (role_id) WHERE origins IS NOT NULL"],
            reverse=["DROP INDEX api_key_of_browsers", "DELETE FROM api_key WHERE origins IS NOT NULL"],
        ),
    ]

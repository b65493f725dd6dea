"""Fallbacks of services, and by which service a mail leaves."""

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops

from app.database.operations import RunSql

DUE = "CREATE INDEX message_due ON message ({service}, priority, due_at, id) WHERE due_at IS NOT NULL"

MOVABLE = (
    "CREATE INDEX message_movable ON message (service_id, route_id, due_at)"
    " WHERE due_at IS NOT NULL AND fallbacks IS NOT NULL"
)
ELSEWHERE = (
    "CREATE INDEX message_elsewhere ON message (service_id, route_id)"
    " WHERE due_at IS NOT NULL AND route_id <> service_id"
)


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0014_announced_size")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Service",
            name="fallbacks",
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(model_name="Message", name="route_id", field=fields.UUIDField(null=True)),
        ops.AddField(model_name="Message", name="route_reason", field=fields.TextField(null=True, unique=False)),
        ops.AddField(
            model_name="Message",
            name="fallbacks",
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(model_name="Attempt", name="service_id", field=fields.UUIDField(null=True)),
        ops.AddField(model_name="Attempt", name="service_name", field=fields.CharField(null=True, max_length=40)),
        ops.AddField(model_name="Attempt", name="fallback_reason", field=fields.TextField(null=True, unique=False)),
        RunSql(
            [
                "UPDATE message SET route_id = service_id WHERE service_id IS NOT NULL",
                "DROP INDEX message_due",
                DUE.format(service="route_id"),
                MOVABLE,
                ELSEWHERE,
            ],
            reverse=[
                "DROP INDEX message_elsewhere",
                "DROP INDEX message_movable",
                "DROP INDEX message_due",
                DUE.format(service="service_id"),
            ],
        ),
    ]

"""Limits of services, and what was used of them."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from app.database.key import new_key
from app.database.operations import RunSql


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0004_circuit")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Counter",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=new_key, unique=True, db_index=True)),
                ("subject", fields.UUIDField()),
                ("span", fields.CharField(max_length=8)),
                ("starts_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("used", fields.IntField()),
            ],
            options={
                "table": "counter",
                "app": "heliograph",
                "pk_attr": "id",
                "table_description": "How many a subject took within one bucket of a window.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Pace",
            fields=[
                ("subject", fields.UUIDField(primary_key=True, default=new_key, unique=True, db_index=True)),
                ("last_turn_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("free_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "pace",
                "app": "heliograph",
                "pk_attr": "subject",
                "table_description": "The last turn a subject was given, and until when nothing more is free; who takes for it locks this row.",
            },
            bases=["Model"],
        ),
        ops.AddField(model_name="Service", name="max_connections", field=fields.IntField(null=True)),
        ops.AddField(model_name="Service", name="messages_per_second", field=fields.FloatField(null=True)),
        ops.AddField(model_name="Service", name="recipients_per_minute", field=fields.IntField(null=True)),
        ops.AddField(model_name="Service", name="recipients_per_hour", field=fields.IntField(null=True)),
        ops.AddField(model_name="Service", name="recipients_per_day", field=fields.IntField(null=True)),
        RunSql(
            [
                "CREATE UNIQUE INDEX counter_bucket ON counter (subject, span, starts_at)",
                "CREATE INDEX counter_age ON counter (span, starts_at)",
            ],
            reverse=["DROP INDEX counter_age", "DROP INDEX counter_bucket"],
        ),
    ]

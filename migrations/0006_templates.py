"""Stored templates, what mail was made from, services that answer at once or are the environment's."""

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops

from app.database.key import new_key
from app.database.operations import RunSql


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0005_pacing")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Template",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=new_key, unique=True, db_index=True)),
                ("number", fields.IntField()),
                ("name", fields.CharField(max_length=128)),
                ("name_key", fields.CharField(max_length=384)),
                ("description", fields.TextField(null=True, unique=False)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("updated_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "template",
                "app": "heliograph",
                "pk_attr": "id",
                "table_description": "A named template; what it holds is in its versions, one of which is current.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="TemplateVersion",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=new_key, unique=True, db_index=True)),
                (
                    "template",
                    fields.ForeignKeyField(
                        "heliograph.Template",
                        source_field="template_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="versions",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("number", fields.IntField()),
                ("is_current", fields.BooleanField()),
                ("subject", fields.TextField(null=True, unique=False)),
                ("text", fields.TextField(null=True, unique=False)),
                ("html", fields.TextField(null=True, unique=False)),
                ("from_email", fields.CharField(null=True, max_length=320)),
                ("from_name", fields.CharField(null=True, max_length=256)),
                ("reply_to_email", fields.CharField(null=True, max_length=320)),
                ("reply_to_name", fields.CharField(null=True, max_length=256)),
                ("recipients", fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ("variables", fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "template_version",
                "app": "heliograph",
                "pk_attr": "id",
                "table_description": "What a template held at one time; never changed but for `is_current`. `number` counts from 1 within the template.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="Message",
            name="template_id",
            field=fields.UUIDField(null=True),
        ),
        ops.AddField(
            model_name="Message",
            name="template_name",
            field=fields.CharField(null=True, max_length=128),
        ),
        ops.AddField(
            model_name="Message",
            name="template_version",
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name="Service",
            name="is_managed",
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name="Service",
            name="respond_async",
            field=fields.BooleanField(default=False, db_default=False),
        ),
        RunSql(
            [
                "CREATE UNIQUE INDEX template_name ON template (name_key)",
                "CREATE UNIQUE INDEX template_number ON template (number)",
                "CREATE UNIQUE INDEX template_version_number ON template_version (template_id, number)",
                "CREATE UNIQUE INDEX template_version_current ON template_version (template_id) WHERE is_current",
            ],
            reverse=[
                "DROP INDEX template_version_current",
                "DROP INDEX template_version_number",
                "DROP INDEX template_number",
                "DROP INDEX template_name",
            ],
        ),
    ]

"""The circuit of a service whose server cannot be talked to."""

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.migrations import operations as ops

from app.database.operations import AlterModelOptions


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0003_doubt")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Circuit",
            fields=[
                (
                    "service",
                    fields.OneToOneField(
                        "heliograph.Service",
                        source_field="service_id",
                        primary_key=True,
                        db_constraint=True,
                        to_field="id",
                        related_name="circuit",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("opened_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("reason", fields.TextField(null=True, unique=False)),
                ("reply_code", fields.IntField(null=True)),
                ("reply_enhanced", fields.CharField(null=True, max_length=16)),
                ("reply_text", fields.TextField(null=True, unique=False)),
                ("probe_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("auth_after", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "circuit",
                "app": "heliograph",
                "pk_attr": "service_id",
                "table_description": "What is known against a service's server. A service without a row may be talked to freely.",
            },
            bases=["Model"],
        ),
        # A one-to-one field that is the primary key: Tortoise records its name, and then misses the column's.
        AlterModelOptions(
            name="Circuit",
            options={
                "table": "circuit",
                "app": "heliograph",
                "pk_attr": "service_id",
                "table_description": "What is known against a service's server. A service without a row may be talked to freely.",
            },
        ),
    ]

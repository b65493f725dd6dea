"""Keys that sign mail."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from app.database.key import new_key
from app.database.operations import RunSql


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0011_browser_keys")]

    initial = False

    operations = [
        ops.CreateModel(
            name="DkimKey",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=new_key, unique=True, db_index=True)),
                ("domain", fields.CharField(max_length=255)),
                ("selector", fields.CharField(max_length=63)),
                ("algorithm", fields.CharField(max_length=16)),
                ("state", fields.CharField(max_length=16)),
                ("subdomains", fields.BooleanField(default=False)),
                ("sealed_private_key", fields.TextField(unique=False)),
                ("public_key", fields.TextField(unique=False)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("activated_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("retired_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "dkim_key",
                "app": "heliograph",
                "pk_attr": "id",
                "table_description": "One key of a sender domain, which is in A-labels; at most one of a domain and algorithm is active.",
            },
            bases=["Model"],
        ),
        RunSql(
            [
                "CREATE UNIQUE INDEX dkim_key_selector ON dkim_key (domain, selector)",
                "CREATE UNIQUE INDEX dkim_key_active ON dkim_key (domain, algorithm) WHERE state = 'ACTIVE'",
            ],
            reverse=["DROP INDEX dkim_key_active", "DROP INDEX dkim_key_selector"],
        ),
    ]

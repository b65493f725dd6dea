"""Services remember their provider, may get access tokens, and say how many recipients one transaction may have."""

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.migrations import operations as ops

from app.database.operations import AlterModelOptions


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0012_dkim")]

    initial = False

    operations = [
        ops.CreateModel(
            name="AccessToken",
            fields=[
                (
                    "service",
                    fields.OneToOneField(
                        "heliograph.Service",
                        source_field="service_id",
                        primary_key=True,
                        db_constraint=True,
                        to_field="id",
                        related_name="access_token",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("sealed_token", fields.TextField(null=True, unique=False)),
                ("refresh_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("expires_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("lease_owner", fields.UUIDField(null=True)),
                ("lease_until", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "access_token",
                "app": "heliograph",
                "pk_attr": "service_id",
                "table_description": "The access token of a service that has one, for all workers; who requests another one holds the lease.",
            },
            bases=["Model"],
        ),
        # A one-to-one field that is the primary key: Tortoise records its name, and then misses the column's.
        AlterModelOptions(
            name="AccessToken",
            options={
                "table": "access_token",
                "app": "heliograph",
                "pk_attr": "service_id",
                "table_description": "The access token of a service that has one, for all workers; who requests another one holds the lease.",
            },
        ),
        ops.AddField(model_name="Service", name="provider", field=fields.CharField(null=True, max_length=32)),
        ops.AddField(model_name="Service", name="region", field=fields.CharField(null=True, max_length=32)),
        ops.AddField(model_name="Service", name="oauth2_grant", field=fields.CharField(null=True, max_length=40)),
        ops.AddField(model_name="Service", name="oauth2_client_id", field=fields.CharField(null=True, max_length=255)),
        ops.AddField(model_name="Service", name="oauth2_tenant", field=fields.CharField(null=True, max_length=255)),
        ops.AddField(model_name="Service", name="oauth2_scope", field=fields.CharField(null=True, max_length=500)),
        ops.AddField(
            model_name="Service", name="oauth2_token_endpoint", field=fields.CharField(null=True, max_length=500)
        ),
        ops.AddField(
            model_name="Service", name="sealed_client_secret", field=fields.TextField(null=True, unique=False)
        ),
        ops.AddField(
            model_name="Service", name="sealed_refresh_token", field=fields.TextField(null=True, unique=False)
        ),
        ops.AddField(model_name="Service", name="sealed_private_key", field=fields.TextField(null=True, unique=False)),
        ops.AddField(model_name="Service", name="max_recipients_per_transaction", field=fields.IntField(null=True)),
    ]

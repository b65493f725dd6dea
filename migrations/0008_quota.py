"""Rate limits of roles, of their grants, and of API keys."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0007_grants")]

    initial = False

    operations = [
        ops.AddField(model_name="Role", name="recipients_per_minute", field=fields.IntField(null=True)),
        ops.AddField(model_name="Role", name="recipients_per_hour", field=fields.IntField(null=True)),
        ops.AddField(model_name="Role", name="recipients_per_day", field=fields.IntField(null=True)),
        ops.AddField(model_name="Grant", name="recipients_per_minute", field=fields.IntField(null=True)),
        ops.AddField(model_name="Grant", name="recipients_per_hour", field=fields.IntField(null=True)),
        ops.AddField(model_name="Grant", name="recipients_per_day", field=fields.IntField(null=True)),
        ops.AddField(model_name="ApiKey", name="recipients_per_minute", field=fields.IntField(null=True)),
        ops.AddField(model_name="ApiKey", name="recipients_per_hour", field=fields.IntField(null=True)),
        ops.AddField(model_name="ApiKey", name="recipients_per_day", field=fields.IntField(null=True)),
    ]

"""How large a mail a service's server takes, as it announced it."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0013_providers")]

    initial = False

    operations = [
        ops.AddField(model_name="Service", name="announced_size", field=fields.BigIntField(null=True)),
    ]

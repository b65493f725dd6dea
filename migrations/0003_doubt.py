"""What becomes of mail in doubt and of attempts whose worker was lost; an authority of a service's own."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0002_control")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Message",
            name="on_doubt",
            field=fields.CharField(default="retry", db_default="retry", max_length=8),
        ),
        ops.AddField(
            model_name="Message",
            name="claimed_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(model_name="Message", name="crashes", field=fields.IntField(default=0, db_default=0)),
        ops.AddField(
            model_name="Recipient", name="in_doubt", field=fields.BooleanField(default=False, db_default=False)
        ),
        ops.AddField(model_name="Service", name="trusted_ca", field=fields.TextField(null=True, unique=False)),
    ]

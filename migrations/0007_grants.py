"""Actions of one kind each instead of MANAGE, and which mail a grant covers.

It cannot be undone: a version that knows no restrictions would let every restricted role send anything.
"""

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops

from app.database.operations import RunSql

_SPLIT = [
    """UPDATE access_grant SET actions = replace({actions}, '"MANAGE"', '"READ_SERVICES","MANAGE_SERVICES"'){json}
    WHERE service_id IS NOT NULL""",
    """UPDATE access_grant SET actions = replace({actions}, '"MANAGE"',
    '"READ_SERVICES","MANAGE_SERVICES","MANAGE_ACCESS","MANAGE_TEMPLATES"'){json}
    WHERE service_id IS NULL""",
]


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0006_templates")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Grant",
            name="restrictions",
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        RunSql(
            {
                "sqlite": [statement.format(actions="actions", json="") for statement in _SPLIT],
                "postgres": [statement.format(actions="actions::text", json="::jsonb") for statement in _SPLIT],
            }
        ),
    ]

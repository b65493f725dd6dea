"""The content of large mails, in slices."""

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.migrations import operations as ops

from app.database.key import new_key
from app.database.operations import RunSql


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0016_revision")]

    initial = False

    operations = [
        ops.CreateModel(
            name="LargeContent",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=new_key, unique=True, db_index=True)),
                (
                    "message",
                    fields.ForeignKeyField(
                        "heliograph.Message",
                        source_field="message_id",
                        null=True,
                        db_constraint=True,
                        to_field="id",
                        related_name="large_contents",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("begun_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "large_content",
                "app": "heliograph",
                "pk_attr": "id",
                "table_description": "The content of a message that is stored in slices; of no message until that is accepted, or if it never is.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="ContentSlice",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=new_key, unique=True, db_index=True)),
                (
                    "content",
                    fields.ForeignKeyField(
                        "heliograph.LargeContent",
                        source_field="content_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="slices",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("number", fields.IntField()),
                ("octets", fields.BinaryField()),
            ],
            options={
                "table": "content_slice",
                "app": "heliograph",
                "pk_attr": "id",
                "table_description": "Octets of a large content: its slices, in the order of their numbers from 0, are the whole of it.",
            },
            bases=["Model"],
        ),
        RunSql(
            [
                "CREATE UNIQUE INDEX large_content_message ON large_content (message_id)",
                "CREATE INDEX large_content_unfinished ON large_content (begun_at) WHERE message_id IS NULL",
                "CREATE UNIQUE INDEX content_slice_number ON content_slice (content_id, number)",
            ],
            reverse=[
                "DROP INDEX content_slice_number",
                "DROP INDEX large_content_unfinished",
                "DROP INDEX large_content_message",
            ],
        ),
        # What is base64 mostly does not get shorter, so PostgreSQL need not try.
        RunSql(
            {"sqlite": [], "postgres": ["ALTER TABLE content_slice ALTER COLUMN octets SET STORAGE EXTERNAL"]},
            reverse={"sqlite": [], "postgres": ["ALTER TABLE content_slice ALTER COLUMN octets SET STORAGE EXTENDED"]},
        ),
    ]

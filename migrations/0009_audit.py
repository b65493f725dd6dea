"""The audit log, which the database itself keeps from being edited."""

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.migrations import operations as ops

from app.database.key import new_key
from app.database.operations import RunSql

# 23 hours: the shortest HELIOGRAPH_AUDIT_DAYS, less what clocks may differ.
NEVER_CHANGED = """
CREATE TRIGGER audit_entry_unchanged BEFORE UPDATE ON audit_entry
BEGIN SELECT RAISE(ABORT, 'the audit log is not edited'); END
"""
KEPT_A_DAY = """
CREATE TRIGGER audit_entry_kept BEFORE DELETE ON audit_entry
WHEN julianday(OLD.at) > julianday('now', '-23 hours')
BEGIN SELECT RAISE(ABORT, 'the audit log is not edited'); END
"""
REFUSE = """
CREATE FUNCTION audit_entry_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log is not edited'; END $$
"""
GUARDS = [
    f"CREATE TRIGGER audit_entry_{name} BEFORE {event} EXECUTE FUNCTION audit_entry_refuse()"
    for name, event in (
        ("unchanged", "UPDATE ON audit_entry FOR EACH ROW"),
        ("kept", "DELETE ON audit_entry FOR EACH ROW WHEN (OLD.at > now() - interval '23 hours')"),
        ("whole", "TRUNCATE ON audit_entry FOR EACH STATEMENT"),
    )
]


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0008_quota")]

    initial = False

    operations = [
        ops.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=new_key, unique=True, db_index=True)),
                ("at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("actor", fields.CharField(max_length=16)),
                ("role_id", fields.UUIDField(null=True)),
                ("role_name", fields.CharField(null=True, max_length=64)),
                ("api_key_id", fields.UUIDField(null=True)),
                ("api_key_name", fields.CharField(null=True, max_length=64)),
                ("origin", fields.CharField(null=True, max_length=64)),
                ("action", fields.CharField(max_length=40)),
                ("subject_kind", fields.CharField(max_length=8)),
                ("subject_id", fields.UUIDField()),
                ("subject_name", fields.CharField(null=True, max_length=128)),
                ("before", fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ("after", fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
            ],
            options={
                "table": "audit_entry",
                "app": "heliograph",
                "pk_attr": "id",
                "table_description": "One administrative change; never changed, and not deleted on its first day: the database refuses both.",
            },
            bases=["Model"],
        ),
        RunSql(
            [
                "CREATE INDEX audit_entry_at ON audit_entry (at)",
                "CREATE INDEX audit_entry_subject ON audit_entry (subject_id, id)",
            ],
            reverse=["DROP INDEX audit_entry_subject", "DROP INDEX audit_entry_at"],
        ),
        RunSql(
            {"sqlite": [NEVER_CHANGED, KEPT_A_DAY], "postgres": [REFUSE, *GUARDS]},
            reverse={
                "sqlite": ["DROP TRIGGER audit_entry_kept", "DROP TRIGGER audit_entry_unchanged"],
                "postgres": [
                    "DROP TRIGGER audit_entry_whole ON audit_entry",
                    "DROP TRIGGER audit_entry_kept ON audit_entry",
                    "DROP TRIGGER audit_entry_unchanged ON audit_entry",
                    "DROP FUNCTION audit_entry_refuse()",
                ],
            },
        ),
    ]

"""What counts the changes of the facts that are kept in memory."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from app.database.operations import RunSql

COUNTED = {
    "access_grant": "id, role_id, service_id, actions, restrictions, recipients_per_minute, recipients_per_hour,"
    " recipients_per_day",
    "api_key": "id, name, role_id, prefix, digest, created_at, expires_at, revoked_at, previous_prefix,"
    " previous_digest, previous_expires_at, allowed_networks, recipients_per_minute, recipients_per_hour,"
    " recipients_per_day, origins, restrictions, client_recipients_per_minute, client_recipients_per_hour,"
    " client_recipients_per_day",
    "dkim_key": "id, domain, selector, algorithm, state, subdomains, sealed_private_key, public_key, created_at,"
    " activated_at, retired_at",
    "role": "id, name, description, is_active, recipients_per_minute, recipients_per_hour, recipients_per_day,"
    " created_at, updated_at",
    "service": "id, name, label, description, kind, is_active, provider, region, host, port, encryption, username,"
    " sealed_password, oauth2_grant, oauth2_client_id, oauth2_tenant, oauth2_scope, oauth2_token_endpoint,"
    " sealed_client_secret, sealed_refresh_token, sealed_private_key, clear_text_auth, trusted_ca, from_email,"
    " from_name, reply_to_email, reply_to_name, max_connections, max_recipients_per_transaction, messages_per_second,"
    " recipients_per_minute, recipients_per_hour, recipients_per_day, respond_async, fallbacks, is_managed, paused_at,"
    " paused_reason, version, created_at, updated_at",
}
"""The columns whose change counts: not those that are written as mail is accepted and sent."""

COUNT = (
    "INSERT INTO revision (name, number) VALUES ('access', 1)"
    " ON CONFLICT (name) DO UPDATE SET number = revision.number + 1"
)

SQLITE = [
    f"CREATE TRIGGER {table}_{verb.split()[0].lower()} AFTER {verb} ON {table} BEGIN {COUNT}; END"
    for table, columns in COUNTED.items()
    for verb in ("INSERT", "DELETE", f"UPDATE OF {columns}")
]
SQLITE_REVERSE = [f"DROP TRIGGER {table}_{verb}" for table in COUNTED for verb in ("insert", "delete", "update")]

# Counted last, when the transaction commits: who changes several tables waits for nobody who does so in another order.
POSTGRES = [
    f"CREATE FUNCTION count_revision() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {COUNT}; RETURN NULL; END $$",
    *(
        f"CREATE CONSTRAINT TRIGGER {table}_revision AFTER INSERT OR DELETE OR UPDATE OF {columns} ON {table}"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_revision()"
        for table, columns in COUNTED.items()
    ),
]
POSTGRES_REVERSE = [
    *(f"DROP TRIGGER {table}_revision ON {table}" for table in COUNTED),
    "DROP FUNCTION count_revision()",
]


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0015_failover")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Revision",
            fields=[
                ("name", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=16)),
                ("number", fields.BigIntField()),
            ],
            options={
                "table": "revision",
                "app": "heliograph",
                "pk_attr": "name",
                "table_description": "How often the stored facts of this name were changed: triggers count, in the transaction of each change.",
            },
            bases=["Model"],
        ),
        RunSql(
            {"sqlite": SQLITE, "postgres": POSTGRES},
            reverse={"sqlite": SQLITE_REVERSE, "postgres": POSTGRES_REVERSE},
        ),
    ]

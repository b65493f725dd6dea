"""Events and attempts stand in the order of their messages, and are found by these alone.

Nobody asks for one by its own key, and a recipient goes only with its message. So the key of the table begins with the
message, no index beside it is kept, and what they say of a recipient is no foreign key: every mail pays for each. The
two indexes by which only the deletion of a role and of its API keys finds messages hold no more than that takes.
"""

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete

from app.database.operations import AlterField, RunSql

MESSAGE = "message_id CHAR(36) NOT NULL REFERENCES message (id) ON DELETE CASCADE"
RECIPIENT = "REFERENCES recipient (id) ON DELETE CASCADE"
ATTEMPT = (
    "number INT NOT NULL, worker_id CHAR(36) NOT NULL, started_at TIMESTAMP NOT NULL, finished_at TIMESTAMP NOT NULL,"
    " outcome VARCHAR(16) NOT NULL, phase VARCHAR(16), in_doubt INT NOT NULL, reply_code INT,"
    " reply_enhanced VARCHAR(16), reply_text TEXT, detail TEXT, service_id CHAR(36), service_name VARCHAR(40),"
    " fallback_reason TEXT"
)
ATTEMPT_COLUMNS = (
    "id, message_id, recipient_id, number, worker_id, started_at, finished_at, outcome, phase, in_doubt, reply_code,"
    " reply_enhanced, reply_text, detail, service_id, service_name, fallback_reason"
)
EVENT = "type VARCHAR(32) NOT NULL, data JSON NOT NULL, created_at TIMESTAMP NOT NULL"
EVENT_COLUMNS = "id, message_id, recipient_id, type, data, created_at"


def rebuilt(table: str, columns: str, definition: str, options: str, order: str) -> list[str]:
    """The statements that write a table of SQLite anew; no other refers to it."""
    return [
        f"CREATE TABLE {table}_rebuilt ({definition}) {options}",
        f"INSERT INTO {table}_rebuilt ({columns}) SELECT {columns} FROM {table} ORDER BY {order}",  # noqa: S608
        f"DROP TABLE {table}",
        f"ALTER TABLE {table}_rebuilt RENAME TO {table}",
    ]


def tables(key: str, recipient: str, constraint: str, options: str, order: str) -> list[str]:
    """Both of them, in SQLite."""
    attempt = (
        f"id CHAR(36) NOT NULL {key}, {MESSAGE}, recipient_id CHAR(36) NOT NULL {recipient}, {ATTEMPT}{constraint}"
    )
    event = f"id CHAR(36) NOT NULL {key}, {MESSAGE}, recipient_id CHAR(36) {recipient}, {EVENT}{constraint}"
    return [
        *rebuilt("attempt", ATTEMPT_COLUMNS, attempt, options, order),
        *rebuilt("event", EVENT_COLUMNS, event, options, order),
    ]


INDEXES = {
    "attempt_message": "attempt (message_id, recipient_id)",
    "attempt_recipient": "attempt (recipient_id)",
    "event_message": "event (message_id, id)",
    "event_recipient": "event (recipient_id) WHERE recipient_id IS NOT NULL",
}
SQLITE = tables("", "", ", PRIMARY KEY (message_id, id)", "WITHOUT ROWID", "message_id, id")
POSTGRES = [
    *(f"DROP INDEX {name}" for name in INDEXES),
    *(
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_recipient_id_fkey, DROP CONSTRAINT {table}_pkey,"
        " ADD PRIMARY KEY (message_id, id)"
        for table in ("attempt", "event")
    ),
]
CREATE = [f"CREATE INDEX {name} ON {what}" for name, what in INDEXES.items()]
SQLITE_REVERSE = [*tables("PRIMARY KEY", RECIPIENT, "", "", "id"), *CREATE]
POSTGRES_REVERSE = [
    *(
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD PRIMARY KEY (id),"
        f" ADD CONSTRAINT {table}_recipient_id_fkey FOREIGN KEY (recipient_id) {RECIPIENT}"
        for table in ("attempt", "event")
    ),
    *CREATE,
]
OWNERS = {"message_role": "role_id", "message_api_key": "api_key_id"}


def owners(columns: str) -> list[str]:
    """The statements that make the indexes of a message's owners anew."""
    return [
        statement
        for name, column in OWNERS.items()
        for statement in (f"DROP INDEX {name}", f"CREATE INDEX {name} ON message ({columns.format(column)})")
    ]


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0018_accept")]

    initial = False

    operations = [
        AlterField(
            model_name="Attempt",
            name="recipient",
            field=fields.ForeignKeyField(
                "heliograph.Recipient",
                source_field="recipient_id",
                db_constraint=False,
                to_field="id",
                related_name="attempts",
                on_delete=OnDelete.CASCADE,
            ),
        ),
        AlterField(
            model_name="Event",
            name="recipient",
            field=fields.ForeignKeyField(
                "heliograph.Recipient",
                source_field="recipient_id",
                null=True,
                db_constraint=False,
                to_field="id",
                related_name="events",
                on_delete=OnDelete.CASCADE,
            ),
        ),
        RunSql(owners("{}"), reverse=owners("{}, id")),
        RunSql(
            {"sqlite": SQLITE, "postgres": POSTGRES}, reverse={"sqlite": SQLITE_REVERSE, "postgres": POSTGRES_REVERSE}
        ),
    ]

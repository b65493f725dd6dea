"""A counter is found by its bucket alone, and SQLite keeps the table in that order.

Every transaction that accepts mail sums what was used in buckets that follow each other, and adds to the last of them.
"""

from tortoise import migrations

from app.database.operations import ForgetModel, RunSql

COLUMNS = "subject, span, starts_at, used"
DEFINITION = "subject CHAR(36) NOT NULL, span VARCHAR(8) NOT NULL, starts_at TIMESTAMP NOT NULL, used INT NOT NULL"
KEY = "PRIMARY KEY (subject, span, starts_at)"
UNIQUE = "CREATE UNIQUE INDEX counter_bucket ON counter (subject, span, starts_at)"
AGE = "CREATE INDEX counter_age ON counter (span, starts_at)"
REPLACE = ["DROP TABLE counter", "ALTER TABLE counter_rebuilt RENAME TO counter"]
RANDOM_KEY = "lower(printf('%s-%s-4%.3s-8%.3s-%s', {}))".format(
    ", ".join(f"hex(randomblob({octets}))" for octets in (4, 2, 2, 2, 6))
)

SQLITE = [
    f"CREATE TABLE counter_rebuilt ({DEFINITION}, {KEY}) WITHOUT ROWID",
    f"INSERT INTO counter_rebuilt ({COLUMNS}) SELECT {COLUMNS} FROM counter ORDER BY subject, span, starts_at",  # noqa: S608
    *REPLACE,
    AGE,
]
SQLITE_REVERSE = [
    f"CREATE TABLE counter_rebuilt (id CHAR(36) NOT NULL PRIMARY KEY, {DEFINITION})",
    f"INSERT INTO counter_rebuilt (id, {COLUMNS}) SELECT {RANDOM_KEY}, {COLUMNS} FROM counter",  # noqa: S608
    *REPLACE,
    UNIQUE,
    AGE,
]
POSTGRES = [
    "ALTER TABLE counter DROP COLUMN id, ADD CONSTRAINT counter_pkey PRIMARY KEY USING INDEX counter_bucket",
]
POSTGRES_REVERSE = [
    "ALTER TABLE counter DROP CONSTRAINT counter_pkey, ADD COLUMN id UUID PRIMARY KEY DEFAULT gen_random_uuid()",
    "ALTER TABLE counter ALTER COLUMN id DROP DEFAULT",
    UNIQUE,
]


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0019_history_by_message")]

    initial = False

    operations = [
        ForgetModel("Counter"),
        RunSql(
            {"sqlite": SQLITE, "postgres": POSTGRES}, reverse={"sqlite": SQLITE_REVERSE, "postgres": POSTGRES_REVERSE}
        ),
    ]

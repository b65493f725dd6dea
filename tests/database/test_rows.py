"""Plain SQL and models agree, on both databases."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from tortoise.exceptions import IntegrityError, OperationalError

from app.access.models import Role
from app.database.connection import as_document, as_key, as_moment, dialect, execute, execute_many, rows
from app.database.key import new_key
from app.inbox.models import CapturedMail
from app.services.models import Service
from app.settings import Settings

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KOLKATA = timezone(timedelta(hours=5, minutes=30))

INSERT_WORKER = "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, $2, $3, $4, $5)"
INSERT_ROLE = "INSERT INTO role (id, name, is_active, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)"


def worker(pid: int, moment: datetime = NOON) -> list[Any]:
    return [new_key(), "host", pid, moment, moment]


async def new_service(moment: datetime = NOON) -> Service:
    return await Service.create(name="email", kind="SMTP", encryption="TLS", created_at=moment, updated_at=moment)


@pytest.mark.parametrize(
    "moment",
    [NOON, NOON + timedelta(microseconds=1), NOON.astimezone(KOLKATA), datetime(1970, 1, 1, tzinfo=UTC)],
    ids=str,
)
async def test_a_moment_written_by_a_model_is_found_and_read_by_plain_sql(database: Settings, moment: datetime) -> None:
    service = await new_service(moment)
    (row,) = await rows("SELECT id, created_at FROM service WHERE id = $1 AND created_at = $2", service.id, moment)
    assert as_key(row["id"]) == service.id
    assert as_moment(row["created_at"]) == moment
    assert as_moment(row["created_at"]).tzinfo is UTC


async def test_what_plain_sql_writes_is_what_models_read_and_find(database: Settings) -> None:
    service = await new_service()
    key, moment, content = new_key(), NOON.astimezone(KOLKATA), bytes(range(256))
    await execute(
        "INSERT INTO captured_mail (id, service_id, received_at, reverse_path, recipients, subject, size_bytes, octets)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        *(key, service.id, moment, "", json.dumps(["a@example.org"]), None, 2**31 - 1, content),
    )
    mail = await CapturedMail.get(id=key, service_id=service.id, received_at=moment)
    assert (mail.id, mail.received_at, mail.octets) == (key, NOON, content)
    assert mail.subject is None
    assert (mail.recipients, mail.reverse_path) == (["a@example.org"], "")
    assert mail.size_bytes == 2**31 - 1


async def test_a_model_row_decodes_to_the_same_values(database: Settings) -> None:
    service = await new_service()
    mail = await CapturedMail.create(
        service=service,
        received_at=NOON,
        reverse_path="ä@example.org",
        recipients=["é", '"'],
        size_bytes=1,
        octets=b"\0",
    )
    (row,) = await rows("SELECT * FROM captured_mail")
    assert as_key(row["service_id"]) == service.id
    assert as_document(row["recipients"]) == mail.recipients == ["é", '"']
    assert (row["octets"], row["reverse_path"]) == (b"\0", "ä@example.org")
    assert as_moment(row["received_at"]) == mail.received_at


@pytest.mark.parametrize("active", [True, False])
async def test_a_truth_value_means_the_same_to_both(database: Settings, active: bool) -> None:
    key = new_key()
    await execute(INSERT_ROLE, key, "operators", active, NOON)
    assert (await Role.get(id=key, is_active=active)).is_active is active
    assert len(await rows("SELECT 1 FROM role WHERE is_active = $1", active)) == 1


@pytest.mark.parametrize(("value", "cast"), [(1.5, "DOUBLE PRECISION"), (7, "INTEGER"), ("$1 and ?1", "TEXT")])
async def test_scalars_come_back_as_they_went(database: Settings, value: object, cast: str) -> None:
    assert await rows(f"SELECT CAST($1 AS {cast}) AS value", value) == [{"value": value}]


async def test_arguments_are_numbered_and_may_repeat_in_any_order(database: Settings) -> None:
    sql = "SELECT CAST($2 AS TEXT) AS b, CAST($1 AS TEXT) AS a, CAST($2 AS TEXT) AS again, '$1' AS quoted"
    assert await rows(sql, "one", "two") == [{"b": "two", "a": "one", "again": "two", "quoted": "$1"}]


async def test_moments_are_ordered_also_across_whole_seconds_and_zones(database: Settings) -> None:
    moments = [NOON + timedelta(microseconds=n) for n in (1_000_000, 1, 999_999, 0, 500_000)]
    await execute_many(INSERT_WORKER, [worker(n, moment) for n, moment in enumerate(moments)])
    found = await rows("SELECT beat_at FROM worker ORDER BY beat_at")
    assert [as_moment(row["beat_at"]) for row in found] == sorted(moments)
    assert (
        len(await rows("SELECT 1 FROM worker WHERE beat_at < $1", (NOON + timedelta(seconds=1)).astimezone(KOLKATA)))
        == 4
    )


async def test_a_moment_without_a_zone_is_refused_where_it_would_be_compared_as_text(sqlite_database: Settings) -> None:
    with pytest.raises(ValueError, match="time zone"):
        await execute("UPDATE worker SET beat_at = $1", datetime(2026, 1, 1))  # noqa: DTZ001


def test_null_decodes_to_none() -> None:
    assert as_key(None) is None
    assert as_moment(None) is None
    assert as_document(None) is None


async def test_execute_counts_the_rows_it_touched_and_no_cascades(database: Settings) -> None:
    key = new_key()
    await execute(INSERT_ROLE, key, "operators", True, NOON)
    for _ in range(3):
        await execute(
            "INSERT INTO api_key (id, name, role_id, prefix, digest, created_at) VALUES ($1, 'k', $2, 'p', $3, $4)",
            *(new_key(), key, str(new_key()), NOON),
        )
    assert await execute("UPDATE api_key SET name = 'other'") == 3
    assert (
        await execute(
            "WITH two AS (SELECT id FROM api_key LIMIT 2) DELETE FROM api_key WHERE id IN (SELECT id FROM two)"
        )
        == 2
    )
    assert await execute("DELETE FROM role WHERE id = $1", key) == 1
    assert await execute("DELETE FROM role WHERE id = $1", key) == 0
    assert await rows("SELECT id FROM api_key") == []


async def test_execute_many_writes_all_or_nothing(database: Settings) -> None:
    await execute_many(INSERT_WORKER, [worker(n) for n in range(100)])
    with pytest.raises(IntegrityError):
        await execute_many(INSERT_WORKER, [worker(200), [None, "host", 201, NOON, NOON]])
    assert await rows("SELECT count(*) AS n, max(pid) AS last FROM worker") == [{"n": 100, "last": 99}]


async def test_returning_gives_the_rows_that_changed(database: Settings) -> None:
    await execute_many(INSERT_WORKER, [worker(n) for n in range(3)])
    changed = await rows("UPDATE worker SET pid = pid + 10 WHERE pid > $1 RETURNING pid", 0)
    assert sorted(row["pid"] for row in changed) == [11, 12]


async def test_errors_are_those_of_tortoise(database: Settings) -> None:
    await execute(INSERT_ROLE, new_key(), "operators", True, NOON)
    with pytest.raises(IntegrityError):
        await execute(INSERT_ROLE, new_key(), "operators", True, NOON)
    with pytest.raises(OperationalError):
        await rows("SELECT nothing FROM nowhere")


async def test_the_dialect_is_named(database: Settings) -> None:
    assert database.database_url.startswith(dialect())


async def test_a_key_of_a_row_is_a_plain_version_7_uuid(database: Settings) -> None:
    service = await new_service()
    (row,) = await rows("SELECT id FROM service")
    assert isinstance(as_key(row["id"]), UUID)
    assert as_key(row["id"]).version == service.id.version == 7

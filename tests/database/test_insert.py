"""Rows that are inserted together are those that were given, of one table or of several, on both databases."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tortoise.exceptions import IntegrityError

from app.database.connection import (
    as_document,
    as_key,
    as_moment,
    dialect,
    execute,
    in_transaction,
    insert,
    rows,
    stored_moment,
    transaction,
)
from app.database.insert import Insert
from app.database.key import new_key, new_key_texts
from app.settings import Settings

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
COLUMNS = {"id": "uuid", "name": "text", "size": "integer", "is_on": "boolean", "data": "jsonb", "at": "timestamptz"}
SAMPLE = Insert("sample", COLUMNS)
TALLY = Insert("tally", {"name": "text", "used": "integer"}, "ON CONFLICT (name) DO UPDATE SET used = tally.used + 1")
PIECE = Insert("piece", {"id": "uuid", "octets": "bytea"})

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001
sample_rows = st.lists(
    st.tuples(
        st.builds(new_key),
        st.none() | text,
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.booleans(),
        st.none() | st.dictionaries(text, text, max_size=2),
        st.none() | moments,
    ),
    max_size=40,
)


@pytest.fixture
async def tables(database: Settings) -> None:
    key, octets = ("UUID", "BYTEA") if dialect() == "postgres" else ("CHAR(36)", "BLOB")
    await execute(
        f"CREATE TABLE sample (id {key} PRIMARY KEY, name TEXT, size INTEGER, is_on BOOLEAN, data JSONB,"
        f" at {'TIMESTAMPTZ' if dialect() == 'postgres' else 'TIMESTAMP'})"
    )
    await execute("CREATE TABLE tally (name TEXT PRIMARY KEY, used INTEGER)")
    await execute(f"CREATE TABLE piece (id {key} REFERENCES sample (id), octets {octets})")


def stored(row: Sequence[Any]) -> tuple[Any, ...]:
    key, name, size, is_on, data, at = row
    return key, name, size, is_on, None if data is None else json.dumps(data), at


async def samples() -> list[tuple[Any, ...]]:
    return [
        (
            as_key(row["id"]),
            row["name"],
            row["size"],
            bool(row["is_on"]),
            as_document(row["data"]),
            as_moment(row["at"]),
        )
        for row in await rows("SELECT * FROM sample ORDER BY id")
    ]


@given(given_rows=sample_rows)
@hypothesis_settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_what_is_read_is_what_was_inserted(tables: None, given_rows: list[tuple[Any, ...]]) -> None:
    """In a unit of work, where SQLite takes many rows in a statement, and in a transaction, where it takes one."""

    async def work() -> None:
        await insert((SAMPLE, [stored(row) for row in given_rows]))

    await execute("DELETE FROM sample")
    await in_transaction(work)
    assert await samples() == sorted(given_rows, key=lambda row: row[0])
    await execute("DELETE FROM sample")
    async with transaction():
        await work()
    assert await samples() == sorted(given_rows, key=lambda row: row[0])


async def test_several_tables_at_once_and_what_refers_to_what(tables: None) -> None:
    """Keys as text or not, a moment of another zone or made text before; nothing for one of the tables."""
    first, second = new_key_texts(2)
    at = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    given_rows = [(first, "ä\"\\'", 1, True, "{}", at), (second, None, None, False, None, stored_moment(NOON))]
    for _ in range(2):
        async with transaction():
            await execute("DELETE FROM piece")
            await execute("DELETE FROM sample")
            pieces = [(first, b"\0\xff"), (as_key(second), b"")]
            await insert((SAMPLE, given_rows), (PIECE, pieces), (SAMPLE, []), (TALLY, [("a", 1), ("b", 5)]))
    assert [(str(key), at) for key, *_, at in await samples()] == [(first, NOON), (second, NOON)]
    assert [bytes(row["octets"]) for row in await rows("SELECT octets FROM piece ORDER BY id")] == [b"\0\xff", b""]
    assert await rows("SELECT * FROM tally ORDER BY name") == [{"name": "a", "used": 2}, {"name": "b", "used": 6}]
    await insert((SAMPLE, []))
    await insert()


async def test_a_row_that_fails_amid_others_fails_in_the_same_words(tables: None) -> None:
    twice = new_key()
    given_rows = [(new_key(), "a", 1, True, None, None) for _ in range(20)] + [(twice, "b", 2, True, None, None)] * 2
    with pytest.raises(IntegrityError):
        await in_transaction(lambda: insert((SAMPLE, given_rows)))
    assert await samples() == []


async def test_all_or_nothing(tables: None) -> None:
    key = new_key()
    with pytest.raises(IntegrityError):
        async with transaction():
            await insert((SAMPLE, [(key, "a", 1, True, None, None)]), (PIECE, [(key, b""), (new_key(), b"")]))
    assert await samples() == []


async def test_a_value_of_no_column_is_refused(tables: None) -> None:
    with pytest.raises(Exception, match=r"object|TypeError|type"):
        await insert((SAMPLE, [(new_key(), object(), 1, True, None, None)]))
    assert await samples() == []

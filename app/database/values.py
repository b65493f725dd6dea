"""Values of plain SQL rows: what SQLite keeps as text, PostgreSQL has types for."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, overload
from uuid import UUID

import orjson

from app.database.key import stored_key


@overload
def as_key(value: None) -> None: ...
@overload
def as_key(value: UUID | str) -> UUID: ...
def as_key(value: UUID | str | None) -> UUID | None:
    """A key, from either database."""
    if value is None or isinstance(value, UUID):
        return value
    return stored_key(value)


@overload
def as_moment(value: None) -> None: ...
@overload
def as_moment(value: datetime | str) -> datetime: ...
def as_moment(value: datetime | str | None) -> datetime | None:
    """A timezone-aware moment in UTC, from either database."""
    if value is None:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def moment_text(moment: datetime) -> str:
    """As SQLite keeps it: in UTC, so that moments compare as text; the form in which Tortoise writes and reads them."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    # As isoformat(" ") has it, in half the time.
    text = orjson.dumps(moment if moment.tzinfo is UTC else moment.astimezone(UTC)).decode()[1:-1]
    return text.replace("T", " ")


@lru_cache(maxsize=100)
def kept_moment_text(moment: datetime) -> str:
    """`moment_text` of one that is in many rows."""
    return moment_text(moment)


def key_text(key: UUID | str) -> str:
    """As SQLite keeps it: as str() has it, in half the time."""
    return key if isinstance(key, str) else orjson.dumps(key).decode()[1:-1]


@lru_cache(maxsize=1000)
def kept_key_text(key: UUID) -> str:
    """`key_text` of one that is asked for again and again; also of one that asyncpg made, which is of a class of its
    own."""
    return str(key)


def moment_texts(moments: Sequence[datetime]) -> list[str]:
    """`moment_text` of each, in half the time."""
    if not moments or [moment for moment in moments if moment.tzinfo is not UTC]:
        return [moment_text(moment) for moment in moments]
    return orjson.dumps(moments).decode().replace("T", " ")[2:-2].split('","')


def key_texts(keys: Sequence[UUID]) -> list[str]:
    """`key_text` of each, in half the time."""
    return orjson.dumps(keys).decode()[2:-2].split('","') if keys else []


def as_document(value: str | bytes | None) -> Any:
    """What a JSON column holds; None for SQL's NULL (and for JSON's null)."""
    return None if value is None else orjson.loads(value)

"""Values as rows of the open database have them: worked out once where a row after the other needs the same."""

from datetime import UTC, datetime
from uuid import UUID

from app.database.connection import dialect

StoredKey = UUID | str
StoredMoment = datetime | str


def stored_key(key: UUID) -> StoredKey:
    """A key, as plain SQL takes and gives it."""
    return key if dialect() == "postgres" else str(key)


def stored_moment(moment: datetime) -> StoredMoment:
    """An aware moment, likewise."""
    return moment if dialect() == "postgres" else moment.astimezone(UTC).isoformat(" ")

"""What an API key opens may have changed: tell the other processes, through PostgreSQL's NOTIFY."""

from app.database.connection import dialect, rows

CHANNEL = "heliograph_access"


async def announce_change() -> None:
    """Tell every listening process, once the open transaction commits.

    SQLite cannot: there, other processes find out by looking.
    """
    if dialect() == "postgres":
        await rows("SELECT pg_notify($1, '')", CHANNEL)

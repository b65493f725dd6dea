"""What is asked of the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.database import connection


@asynccontextmanager
async def told() -> AsyncIterator[list[str]]:
    """Every statement that the open SQLite database is given while the block runs."""
    client: Any = connection._plain_client()
    seen: list[str] = []
    connections = [client._connection, await client._reader._connection()]
    for each in connections:
        await each.set_trace_callback(seen.append)
    try:
        yield seen
    finally:
        for each in connections:
            await each.set_trace_callback(None)

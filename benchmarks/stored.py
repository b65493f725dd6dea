"""What is in the database after a run without a worker: every acknowledged mail, and each once."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.run import Wrong

RECIPIENTS = "SELECT email FROM recipient"


async def check_stored(database_url: str, sent: int, query: str = RECIPIENTS) -> None:
    """Raises Wrong unless the recipients numbered 1 to `sent` are there, and nobody else."""
    check_numbers([number_of(email) for email in await _emails(database_url, query)], sent)


def check_numbers(numbers: Sequence[int], sent: int) -> None:
    """Raises Wrong unless these are 1 to `sent`, each once."""
    there = set(numbers)
    lost = sorted(set(range(1, sent + 1)) - there)
    doubled, others = len(numbers) - len(there), len(there) - (sent - len(lost))
    if lost or doubled or others:
        told = f"{len(lost)} are lost {lost[:10]}, {doubled} are doubled; {others} are others"
        raise Wrong(f"of {sent} acknowledged mails {told}")


def number_of(email: str) -> int:
    """m00000012@load.example is 12; -1 where there is no number."""
    digits = email.partition("@")[0].lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits) if digits.isdigit() else -1


async def _emails(database_url: str, query: str) -> list[str]:
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite://"))
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return [email for (email,) in connection.execute(query)]
    import asyncpg

    session = await asyncpg.connect(database_url)
    try:
        return [record[0] for record in await session.fetch(query)]
    finally:
        await session.close()

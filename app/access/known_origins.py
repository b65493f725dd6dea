"""The origins of all browser keys that open something right now."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from app import clock
from app.database.connection import as_document, rows

_ORIGINS = """
SELECT k.origins FROM api_key k JOIN role r ON r.id = k.role_id
WHERE k.origins IS NOT NULL AND k.revoked_at IS NULL AND r.is_active = $1
AND (k.expires_at IS NULL OR k.expires_at > $2)
"""


class KnownOrigins:
    """Read from the database anew when what is known is older than `seconds`; whoever asks meanwhile waits for that.
    Where the database cannot be asked, it is left alone for as long."""

    def __init__(self, seconds: float, now: Callable[[], datetime] = clock.now) -> None:
        self._seconds = seconds
        self._now = now
        self._known: frozenset[str] = frozenset()
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def includes(self, origin: str) -> bool:
        """Whether a browser key is for pages of this origin. Raises what the database raises."""
        async with self._reading:
            began = clock.monotonic()
            if self._read_at is None or began - self._read_at >= self._seconds:
                try:
                    found = await rows(_ORIGINS, True, self._now())
                except Exception:
                    self._read_at = clock.monotonic()
                    raise
                self._known = frozenset(known for row in found for known in as_document(row["origins"]) or ())
                self._read_at = began
        return origin in self._known

"""Whoever holds something open with an API key loses it as soon as the key opens nothing any more."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app import clock
from app.access.authenticate import terms_of
from app.access.principal import Principal
from app.access.validity import Terms, flaw_of
from app.database.connection import as_key, rows
from app.database.trouble import log_trouble
from app.database.where import Where

_LOG = logging.getLogger(__name__)

_KEYS = """
SELECT k.id, k.digest, k.previous_digest, k.expires_at, k.previous_expires_at, k.revoked_at, k.allowed_networks,
       r.is_active
FROM api_key k
JOIN role r ON r.id = k.role_id
"""

Close = Callable[[], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Held:
    """What is open with one secret, from one address. `ends_at`: as far as was known when it was last looked up."""

    api_key_id: UUID
    digest: str
    origin: str | None
    close: Close
    ends_at: datetime | None = None


class KeyWatch:
    """Looks at the keys of what is open in this process: when told, when one of them ends, and every `interval`
    seconds, with one query for all of it. Where nothing is open it sleeps."""

    def __init__(self, interval: float = 1, *, now: Callable[[], datetime] = clock.now) -> None:
        self._interval = interval
        self._now = now
        self._held: set[_Held] = set()
        self._told = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def hold(self, principal: Principal, close: Close) -> Callable[[], None]:
        """Have `close` awaited once what the principal showed opens nothing; returns what to call when it is closed."""
        held = _Held(principal.api_key_id, principal.digest, principal.origin, close)
        self._held.add(held)
        self._told.set()  # the key may have changed since it was checked

        def leave() -> None:
            self._held.discard(held)

        return leave

    def look(self) -> None:
        """A key, or a role, changed: look at once. Call it after the commit."""
        self._told.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch while the block runs; the database must be open."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            for running in (task, *self._closing):
                running.cancel()
            await asyncio.gather(task, *self._closing, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._told.wait()
            self._told.clear()
            try:
                await self._close_what_ended()
            except Exception as error:
                log_trouble(_LOG, error, "the API keys of open WebSockets cannot be looked up")

    def _pause(self) -> float | None:
        if not self._held:
            return None
        now = self._now()
        ends = ((held.ends_at - now).total_seconds() for held in self._held if held.ends_at is not None)
        return max(0, min((self._interval, *ends)))

    async def _close_what_ended(self) -> None:
        """What ended by its time needs no database."""
        now = self._now()
        self._close(held for held in self._held if held.ends_at is not None and held.ends_at <= now)
        if self._held:
            looked_up = list(self._held)
            self._close(await self._refused(looked_up))

    async def _refused(self, looked_up: list[_Held]) -> list[_Held]:
        where = Where()
        where.add_among("k.id", {held.api_key_id for held in looked_up})
        found = {as_key(row["id"]): row for row in await rows(f"{_KEYS}{where.clause}", *where.arguments)}
        now, refused = self._now(), []
        for held in looked_up:
            key = found.get(held.api_key_id)
            terms = _terms(held, key) if key is not None and key["is_active"] else None
            held.ends_at = terms.ends_at if terms else None
            if terms is None or flaw_of(terms, now, held.origin):
                refused.append(held)
        return refused

    def _close(self, refused: Iterable[_Held]) -> None:
        """Each in a task of its own: a client that reads nothing keeps only its own socket from being closed."""
        for held in self._held.intersection(refused):  # not those that left meanwhile
            self._held.discard(held)
            task = asyncio.create_task(_closed(held.close))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _terms(held: _Held, key: Mapping[str, Any]) -> Terms:
    known = held.digest in (key["digest"], key["previous_digest"])
    return terms_of(key, known=known, replaced=held.digest != key["digest"])


async def _closed(close: Close) -> None:
    try:
        await close()
    except Exception as error:
        log_trouble(_LOG, error, "a WebSocket could not be closed")

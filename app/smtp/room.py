"""How many connections one server has room for, as far as it has let us know."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from app.mail.reply import Severity
from app.smtp.connection import Connection
from app.smtp.failure import Cause, Failure, Phase
from app.smtp.server import Server


def turned_away(failure: Failure, server: Server) -> bool:
    """Whether this is how `server` would refuse one connection too many: 4yz to whoever comes, or a closed door."""
    if failure.reply is not None:
        return failure.phase in (Phase.GREETING, Phase.EHLO) and failure.reply.severity is Severity.TRANSIENT
    door = {Phase.CONNECT, Phase.GREETING, Phase.EHLO} | ({Phase.TLS} if server.implicit_tls else set())
    return failure.phase in door and failure.cause in (Cause.CONNECTION_REFUSED, Cause.DISCONNECTED)


class Room:
    """Our connections to one server (host and port), of whatever service: open, or being made.

    A server that turns one away beside others of ours is full, not unwell: for `memory` seconds it has room for as
    many as it had then. It has `lag` seconds to notice that one of ours has left.
    """

    def __init__(self, memory: float, lag: float, clock: Callable[[], datetime]) -> None:
        self._memory = memory
        self._lag = lag
        self._clock = clock
        self._connections: set[Connection] = set()
        self._made = 0
        self._being_made = 0
        self._left_at: datetime | None = None
        self._limit: int | None = None
        self._limited_since = clock()
        self._change = asyncio.Event()
        self._is_awaited = False

    @property
    def is_full(self) -> bool:
        """Whether one more would be turned away, as far as is known."""
        return self._limit is not None and self._is_limited and self._open() + self._being_made >= self._limit

    @property
    def may_lag(self) -> bool:
        """Whether the server may not have noticed yet that one of ours has left."""
        self._open()
        return self._left_at is not None and (self._clock() - self._left_at).total_seconds() <= self._lag

    @property
    def is_forgettable(self) -> bool:
        """Whether a new one would be as good."""
        return not self._open() and not self._being_made and not self._is_limited

    def holds(self, connection: Connection) -> bool:
        """Whether it is one of ours here."""
        return connection in self._connections

    def begin(self) -> None:
        """A connection is being made."""
        self._being_made += 1

    def end(self, connection: Connection | None) -> None:
        """It has been made, or could not be (None)."""
        self._being_made -= 1
        if connection is not None:
            self._made += 1
            self._left_at = None
            self._connections.add(connection)
        self.tell()

    async def has_others(self) -> bool:
        """Asked by who was turned away: whether the server took others of ours, so that it is full. Remembers it.

        Those being made are waited for.
        """
        made = self._made
        while not self._open() and self._being_made and self._made == made:
            await self.changed()
        if not self._open() and self._made == made:
            return False
        self._limit, self._limited_since = max(1, self._open() + self._being_made), self._clock()
        return True

    async def changed(self) -> None:
        """Wait until a connection was made, given back or closed, or could not be made."""
        self._is_awaited = True
        await self._change.wait()

    def tell(self) -> None:
        """One may have been closed: wake who waits for a change."""
        self._open()
        self.wake()

    def wake(self) -> None:
        """One was given back, and none was closed of which `tell` was not called: wake who waits for a change."""
        if self._is_awaited:
            self._is_awaited = False
            self._change.set()
            self._change = asyncio.Event()

    @property
    def _is_limited(self) -> bool:
        over = (self._clock() - self._limited_since).total_seconds() > self._memory
        return self._limit is not None and not over

    def _open(self) -> int:
        gone = [connection for connection in self._connections if not connection.usable]
        if gone:
            if any(connection.has_quit for connection in gone):
                self._left_at = self._clock()
            self._connections.difference_update(gone)
        return len(self._connections)

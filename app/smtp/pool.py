"""A few warm connections per server, lent to one transaction at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime

from app.clock import now
from app.smtp.connection import Connection, connect
from app.smtp.failure import SmtpFailure
from app.smtp.places import Places
from app.smtp.server import Server


class Pool:
    """Warm connections by key (a service), at most `max_connections` of each lent out or being made.

    A connection is closed after `max_messages`, when idle for more than `idle_limit` seconds, when it was made
    for another version of the service, and when its borrower raised or was cancelled. One that was idle for
    more than `noop_after` seconds is asked with NOOP first; a dead one is replaced silently. A server that did not
    answer pipelined commands as it should is sent one at a time for `pipelining_pause` seconds.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        max_messages: int,
        idle_limit: float,
        noop_after: float,
        pipelining_pause: float = 3600,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._max_connections = max_connections
        self._max_messages = max_messages
        self._idle_limit = idle_limit
        self._noop_after = noop_after
        self._pipelining_pause = pipelining_pause
        self._clock = clock
        self._out_of_step: dict[Hashable, datetime] = {}
        self._berths: dict[Hashable, _Berth] = {}
        self._lent: set[Connection] = set()
        self._closed = False

    @contextlib.asynccontextmanager
    async def borrow(
        self, key: Hashable, version: int, server: Server, *, fresh: bool = False, at_most: int | None = None
    ) -> AsyncIterator[Connection]:
        """Lend a connection to `server`, ready for MAIL; first come, first served while all are out.

        `version` is that of the service under `key`: connections of another version are not lent any more, with
        `fresh` no warm one at all. `at_most` replaces `max_connections` for this key from now on.
        Raises SmtpFailure when no connection can be made, RuntimeError after `close`.
        """
        berth = self._berths.setdefault(key, _Berth(Places(self._max_connections)))
        berth.places.resize(at_most or self._max_connections)
        berth.users += 1
        try:
            async with berth.places:
                connection = await self._take(berth, version, server, fresh)
                connection.may_pipeline = self._may_pipeline(key)
                try:
                    yield connection
                except BaseException:
                    connection.close()
                    raise
                finally:
                    self._lent.discard(connection)
                    if connection.out_of_step:
                        self._out_of_step[key] = self._clock()
                self._put_back(berth, connection, version)
        finally:
            berth.users -= 1
            self._forget(key, berth)

    def close_idle(self) -> None:
        """Close what has been idle for too long. To be called every few seconds."""
        for key, berth in list(self._berths.items()):
            berth.keep(lambda idle: idle.connection.usable and self._idle_for(idle) <= self._idle_limit)
            self._forget(key, berth)

    async def close(self) -> None:
        """Close every connection, lent ones at once; nothing is lent any more."""
        self._closed = True
        for berth in self._berths.values():
            berth.keep(lambda _: False)
        for connection in self._lent:
            connection.close()
        await asyncio.sleep(0)

    def _may_pipeline(self, key: Hashable) -> bool:
        since = self._out_of_step.get(key)
        if since is not None and (self._clock() - since).total_seconds() > self._pipelining_pause:
            del self._out_of_step[key]
            return True
        return since is None

    async def _take(self, berth: "_Berth", version: int, server: Server, fresh: bool) -> Connection:
        if self._closed:
            raise RuntimeError("the pool is closed")
        berth.keep(lambda idle: idle.version == version and self._idle_for(idle) <= self._idle_limit)
        while berth.idle and not fresh:
            idle = berth.idle.pop()
            if await self._is_ready(idle):
                return self._lend(idle.connection)
        return self._lend(await connect(server))

    def _lend(self, connection: Connection) -> Connection:
        if self._closed:
            connection.close()
            raise RuntimeError("the pool is closed")
        self._lent.add(connection)
        return connection

    async def _is_ready(self, idle: "_Idle") -> bool:
        """Whether it is alive and can take MAIL. RSET after a refused envelope asks that as NOOP does."""
        connection = idle.connection
        if not connection.usable:
            return False
        try:
            if connection.in_transaction:
                await connection.reset()
            elif self._idle_for(idle) > self._noop_after:
                await connection.noop()
        except SmtpFailure:
            return False
        return True

    def _put_back(self, berth: "_Berth", connection: Connection, version: int) -> None:
        if self._closed or connection.messages_sent >= self._max_messages:
            connection.quit_soon()
        elif connection.usable:
            berth.idle.append(_Idle(connection, version, self._clock()))

    def _forget(self, key: Hashable, berth: "_Berth") -> None:
        if not berth.users and not berth.idle:
            self._berths.pop(key, None)

    def _idle_for(self, idle: "_Idle") -> float:
        return (self._clock() - idle.since).total_seconds()


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: Connection
    version: int
    since: datetime


@dataclass(slots=True)
class _Berth:
    """The connections of one key. `users` are those who borrow or wait to borrow; the last one lent is lent
    first, so that those not needed grow idle."""

    places: Places
    idle: list[_Idle] = field(default_factory=list)
    users: int = 0

    def keep(self, worth: Callable[[_Idle], bool]) -> None:
        """Keep the idle ones that are worth it, say QUIT to the others."""
        kept = []
        for idle in self.idle:
            if worth(idle):
                kept.append(idle)
            else:
                idle.connection.quit_soon()
        self.idle = kept

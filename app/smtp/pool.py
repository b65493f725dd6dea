"""A few warm connections per server, lent to one transaction at a time."""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from app.clock import now
from app.smtp.berth import Berth, Idle, Making, Refused
from app.smtp.connection import Connection, connect
from app.smtp.failure import Phase, SmtpFailure
from app.smtp.faults import Fault, Faults
from app.smtp.loan import Loan, Wish
from app.smtp.places import Places
from app.smtp.room import Room, turned_away
from app.smtp.server import Server

_OUT_OF_STEP, _RIDING, _CHUNKING = Fault  # the members of an Enum take several times as long to get


class Pool:
    """Warm connections by key (a service), at most `max_connections` of each lent out or being made.

    A connection is closed after `max_messages`, when idle for more than `idle_limit` seconds, when it was made
    for another version of the service, and when its borrower raised or was cancelled. One that was idle for
    more than `noop_after` seconds is asked with NOOP first; a dead one, or one that said more than it was asked, is
    closed and replaced silently. A server that did not answer pipelined commands as it should is sent one at a time
    for `pipelining_pause` seconds; so long it gets no BDAT after it refused that, and no mail behind another one after
    that went wrong.

    While all connections are out, one whose transaction has written its end, or is about to, is lent to the next who
    waits, behind that (RFC 2920); with CHUNKING (RFC 3030), done without where `chunking` is false, up to `window` of
    them. A connection that cannot be made is a failure of all who wait for one.

    A server that turns a connection away beside others of ours has no room for more: who borrows waits for one of
    those, and the server gets no more at a time for `limit_memory` seconds. It may be slow to notice that one was
    closed: one that would replace it, and is turned away, is tried once more after `limit_pause` seconds.

    Connections that need AUTH are made one after the other for each key, and a failure is that of all who waited for
    it. When AUTH failed, no other is made with the same key and version for `auth_interval` seconds.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        max_messages: int,
        idle_limit: float,
        noop_after: float,
        pipelining_pause: float = 3600,
        chunking: bool = True,
        window: int = 8,
        limit_memory: float = 600,
        limit_pause: float = 1,
        auth_interval: float = 60,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.max_connections = max_connections
        self._max_messages = max_messages
        self._idle_limit = idle_limit
        self._noop_after = min(noop_after, idle_limit)  # idle for longer, it is not at hand
        self._chunking = chunking
        self._window = window
        self._faults = Faults(pipelining_pause, clock)
        self._limit_memory = limit_memory
        self._limit_pause = limit_pause
        self._auth_interval = auth_interval
        self._clock = clock
        self._berths: dict[Hashable, Berth] = {}
        self._rooms: dict[tuple[str, int], Room] = {}
        self._lent: set[Connection] = set()
        self._closed = False

    def borrow(
        self,
        key: Hashable,
        version: int,
        server: Server,
        *,
        fresh: bool = False,
        rides: bool = True,
        at_most: int | None = None,
    ) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection to `server`, ready for MAIL; first come, first served while all are out.

        `version` is that of the service under `key`: connections of another version are not lent any more, with
        `fresh` no warm one at all. With `rides` it may be one whose last transaction waits for its last reply: then
        what is sent goes behind that. `at_most` replaces `max_connections` for this key from now on.
        Raises SmtpFailure when no connection can be made, RuntimeError after `close`.
        """
        return _Borrowed(key, version, server, fresh, rides and not fresh, self, at_most or self.max_connections)

    def close_idle(self) -> float:
        """Close what has been idle for too long, and forget what is over. To be called every few seconds, and once as
        many seconds are over as it returns: until then nothing will have been idle for too long."""
        for key, berth in list(self._berths.items()):
            berth.keep(lambda idle: idle.connection.usable and self._is_fresh(idle))
            self._forget(key, berth)
        for address, room in list(self._rooms.items()):
            room.tell()
            if room.is_forgettable:
                del self._rooms[address]
        longest = max((self._idle_for(idle) for berth in self._berths.values() for idle in berth.idle), default=0)
        return self._idle_limit - longest

    async def close(self) -> None:
        """Close every connection, lent ones at once; nothing is lent any more."""
        self._closed = True
        for berth in self._berths.values():
            berth.keep(lambda _: False)
        for connection in self._lent:
            connection.close()
        for room in self._rooms.values():
            room.tell()
        await asyncio.sleep(0)

    def berth(self, key: Hashable, at_most: int) -> Berth:
        """Where loans of this key are to be had: by `at_hand` or `take` with one of its places, or by `ask`."""
        berth = self._berths.get(key)
        if berth is None:
            berth = self._berths[key] = Berth(Places(self.max_connections))
        berth.places.resize(at_most)
        return berth

    def at_hand(self, berth: Berth, wish: Wish) -> Loan | None:
        """What `take` returns, where there is nothing to wait for."""
        idle = berth.idle
        if not idle or wish.fresh or berth.version != wish.version or not self._is_at_hand(idle[-1]):
            return None
        return self._lend(berth, wish, idle.pop().connection)

    async def take(self, berth: Berth, wish: Wish) -> Loan:
        """A loan of its own. The place is given up where it raises, as `borrow` says."""
        try:
            return self._lend(berth, wish, await self._take(berth, wish.version, wish.server, wish.fresh))
        except BaseException as error:
            if isinstance(error, SmtpFailure):
                berth.places.refuse(wish.version, error.failure)
            berth.places.free()
            raise

    def ask(self, berth: Berth, wish: Wish) -> asyncio.Future[Loan | None]:
        """What is given once it is there: a loan to be shared, or a place of its own (None)."""
        given = berth.places.ask(wish.version if wish.rides and self._window > 1 else None)
        for loan in berth.inviting:
            if self._share(berth, loan):
                break
        return given

    def give_back(self, berth: Berth, given: asyncio.Future[Loan | None]) -> None:
        """What was given to who was cancelled in the same moment."""
        if given.done() and not given.cancelled() and given.exception() is None:
            loan = given.result()
            if loan is None:
                berth.places.free()
            else:
                self.leave(berth, loan)

    def _invite(self, berth: Berth, loan: Loan) -> bool:
        """Its last transaction has written its end, or is about to: let another one come aboard, now or as soon as
        somebody asks. Whether one does now."""
        if self._share(berth, loan):
            return True
        berth.inviting[loan] = None
        return False

    def _share(self, berth: Berth, loan: Loan) -> bool:
        if self._closed or not berth.places.may_be_shared() or not self._faults.is_over(loan.key, _RIDING):
            return False
        if not loan.has_seat() or not berth.places.share(loan):
            return False
        berth.inviting.pop(loan, None)
        loan.inviter = loan.connection.train.last
        loan.aboard += 1
        return True

    def leave(self, berth: Berth, loan: Loan) -> None:
        """The last one to leave gives the connection back, and its place."""
        connection = loan.connection
        self._faults.note(loan.key, connection)
        loan.aboard -= 1
        if loan.aboard:
            train = connection.train
            if train.has_ended or (train.last is not None and train.last is loan.inviter):  # who came behind it is gone
                self._invite(berth, loan)
            return
        berth.inviting.pop(loan, None)
        self._lent.discard(connection)
        room = self._room_at(loan.server)
        if self._put_back(berth, loan):
            room.wake()
        else:
            room.tell()
        berth.places.free()

    async def _take(self, berth: Berth, version: int, server: Server, fresh: bool) -> Connection:
        """A warm connection, or a new one as soon as there may be one more."""
        asked_again = False
        while True:
            room = self._room_at(server)
            try:
                connection = await self._take_now(berth, version, server, fresh, room)
            except SmtpFailure as failed:
                if not turned_away(failed.failure, server):
                    raise
                if room.may_lag and not asked_again:
                    asked_again = True
                    await asyncio.sleep(self._limit_pause)
                elif not await room.has_others():
                    raise
            else:
                if connection is not None:
                    return connection

    async def _take_now(self, berth: Berth, version: int, server: Server, fresh: bool, room: Room) -> Connection | None:
        """None: there may be none right now, but something has changed since. Raises SmtpFailure."""
        if self._closed:
            raise RuntimeError("the pool is closed")
        if berth.idle and (berth.version != version or not self._is_fresh(berth.idle[0])):
            if berth.keep(lambda idle: idle.version == version and self._is_fresh(idle)):
                room.tell()
            berth.version = version
        if not fresh and (warm := await self._warm(berth, version, room)) is not None:
            return warm
        if (another := berth.making) is not None and another.version == version:
            await room.changed()
            another.share_failure()
            return None
        if berth.refused is not None and berth.refused.version == version and self._still_counts(berth.refused):
            raise SmtpFailure(berth.refused.failure)
        if room.is_full:
            if not self._close_one_idle(room):
                await room.changed()
            return None
        return await self._make(berth, version, server, room)

    async def _warm(self, berth: Berth, version: int, room: Room) -> Connection | None:
        while berth.idle:
            idle = berth.idle.pop()
            if idle.version != version:  # it was given back while another one was asked
                idle.connection.quit_soon()
            elif self._is_at_hand(idle) or await self._is_ready(idle):
                return idle.connection
            room.tell()
        return None

    async def _make(self, berth: Berth, version: int, server: Server, room: Room) -> Connection:
        making, connection = Making(version), None
        if server.credentials is not None:
            berth.making = making
        room.begin()
        try:
            connection = await connect(server)
        except SmtpFailure as failed:
            if failed.failure.phase is Phase.AUTH:
                berth.refused = Refused(version, failed.failure, self._clock())
            if not turned_away(failed.failure, server):
                making.failure = failed.failure
            raise
        finally:
            if berth.making is making:
                berth.making = None
            room.end(connection)
        return connection

    def _still_counts(self, refused: Refused) -> bool:
        return (self._clock() - refused.since).total_seconds() < self._auth_interval

    def _close_one_idle(self, room: Room) -> bool:
        """Whether there was one at that server, for whatever key, to make room for a connection that is needed."""
        there = [idle for berth in self._berths.values() for idle in berth.idle if room.holds(idle.connection)]
        if not there:
            return False
        longest = min(there, key=lambda idle: idle.since)
        for berth in self._berths.values():
            berth.keep(lambda idle: idle is not longest)
        return True

    def _room_at(self, server: Server) -> Room:
        address = server.host, server.port
        room = self._rooms.get(address)
        if room is None:
            room = self._rooms[address] = Room(self._limit_memory, self._limit_pause, self._clock)
        return room

    def _lend(self, berth: Berth, wish: Wish, connection: Connection) -> Loan:
        if self._closed:
            connection.close()
            raise RuntimeError("the pool is closed")
        self._lent.add(connection)
        loan = Loan(wish.key, wish.version, wish.server, connection, self._window, self._max_messages)
        connection.permit(
            pipelining=self._faults.is_over(wish.key, _OUT_OF_STEP),
            chunking=self._chunking and self._faults.is_over(wish.key, _CHUNKING),
        )
        connection.invite = partial(self._invite, berth, loan)
        return loan

    def _is_at_hand(self, idle: Idle) -> bool:
        """Whether it can be lent without being asked."""
        connection = idle.connection
        return connection.usable and not connection.in_transaction and self._idle_for(idle) <= self._noop_after

    async def _is_ready(self, idle: Idle) -> bool:
        """Whether it is alive and can take MAIL. RSET after a refused envelope asks that as NOOP does."""
        connection = idle.connection
        if not connection.usable:
            connection.quit_soon()
            return False
        try:
            await (connection.reset() if connection.in_transaction else connection.noop())
        except SmtpFailure:
            return False
        return True

    def _put_back(self, berth: Berth, loan: Loan) -> bool:
        """Keep its connection for the next one, or close it; whether it is kept."""
        connection = loan.connection
        if loan.is_spoiled:
            connection.close()
        elif self._closed or connection.messages_sent >= self._max_messages or not connection.usable:
            connection.quit_soon()
        else:
            berth.put(Idle(connection, loan.version, self._clock()))
            return True
        return False

    def _forget(self, key: Hashable, berth: Berth) -> None:
        remembered = berth.refused is not None and self._still_counts(berth.refused)
        if not berth.places.are_wanted() and not berth.idle and not remembered:
            self._berths.pop(key, None)

    def _is_fresh(self, idle: Idle) -> bool:
        return self._idle_for(idle) <= self._idle_limit

    def _idle_for(self, idle: Idle) -> float:
        return (self._clock() - idle.since).total_seconds()


@dataclass(slots=True, eq=False)
class _Borrowed(Wish):
    """`async with`: a connection is lent. A class, because a generator costs each mail several microseconds."""

    pool: Pool
    at_most: int
    berth: Berth = field(init=False)
    loan: Loan = field(init=False)

    async def __aenter__(self) -> Connection:
        pool = self.pool
        self.berth = berth = pool.berth(self.key, self.at_most)
        shared = None
        if not berth.places.take():
            given = pool.ask(berth, self)
            try:
                shared = await given
            except asyncio.CancelledError:
                pool.give_back(berth, given)
                raise
        self.loan = loan = shared or pool.at_hand(berth, self) or await pool.take(berth, self)
        return loan.connection

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self.loan.spoil()
        self.pool.leave(self.berth, self.loan)

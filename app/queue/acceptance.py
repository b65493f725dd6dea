"""Mails that are accepted at the same time share a transaction: each waits for the commit that holds it."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from datetime import datetime
from uuid import UUID

from app.clock import now
from app.database.connection import dialect, is_transient
from app.database.finish import Pending
from app.queue.engine import Engine
from app.queue.put import NewMessage, Receipt, put_together
from app.queue.wakeup import Wakeup


class Acceptance:
    """Puts mails for one process, at most `most` in a transaction; on PostgreSQL, in up to `lanes` transactions at a
    time.

    There no lane takes more than its share of all that is to be put: while one waits for the database, the mails of
    another are answered, and the next ones read. SQLite has one writer, to whom one transaction for all costs less.
    `wakeup` is told how many mails are being accepted.
    """

    def __init__(
        self,
        engine: Engine,
        wakeup: Wakeup | None = None,
        most: int = 100,
        lanes: int = 2,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._engine = engine
        self._intake = (wakeup or Wakeup()).intake
        self._most = most
        self._lanes = lanes
        self._busy_lanes = 0
        self._is_about_to_take = False
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()

    async def put(self, message: NewMessage) -> Receipt:
        """See queue.put. Cancelled before its transaction begins, nothing is accepted; else once it has ended."""
        idempotency = message.idempotency
        key = None if idempotency is None else (message.role_id, idempotency.key)
        waiting = _Waiting(message=message, key=key)
        self._waiting.append(waiting)
        self._intake.begin()
        try:
            self._begin_lane()
            return await waiting.wait()
        finally:
            self._intake.end()

    def _begin_lane(self) -> None:
        if not self._waiting or self._is_about_to_take:
            return
        if not self._busy_lanes or (self._busy_lanes < self._lanes and dialect() == "postgres"):
            self._busy_lanes += 1
            self._is_about_to_take = True
            # In a context of its own: it goes on for others than the one who happens to begin it.
            asyncio.get_running_loop().create_task(self._accept(), context=Context())

    async def _accept(self) -> None:
        """One transaction after the other, until nobody waits."""
        try:
            while self._waiting:
                await self._put_next()
        finally:
            self._busy_lanes -= 1

    async def _put_next(self) -> None:
        self._is_about_to_take = True
        share = None
        if dialect() == "postgres":
            await asyncio.sleep(0)  # who was just told answers first: its client sends the next mail meanwhile
            share = min(self._most, -(-self._intake.under_way // self._lanes))
        group: list[_Waiting] = []

        def take() -> list[NewMessage]:  # on SQLite this is the database's thread
            group[:] = self._next_group(share or self._most)
            if share:
                self._begin_lane()
            return [waiting.message for waiting in group]

        self._intake.commit_begins()
        try:
            outcomes = await put_together(take, self._clock, self._engine)
        except Exception as error:
            await self._put_one_by_one(group or self._next_group(self._most), error)
        else:
            for waiting, outcome in zip(group, outcomes, strict=True):
                waiting.tell(outcome)

    async def _put_one_by_one(self, group: "list[_Waiting]", error: Exception) -> None:
        """Whose fault it was shows where each is alone, unless it was nobody's."""
        for waiting in group:
            if len(group) == 1 or is_transient(error):
                waiting.tell(error)
            else:
                await self._put_alone(waiting)

    async def _put_alone(self, waiting: "_Waiting") -> None:
        self._intake.commit_begins()
        try:
            (outcome,) = await put_together(lambda: [waiting.message], self._clock, self._engine)
        except Exception as error:
            waiting.tell(error)
        else:
            waiting.tell(outcome)

    def _next_group(self, most: int) -> "list[_Waiting]":
        self._is_about_to_take = False  # before it looks: who comes from now on begins another lane
        group: list[_Waiting] = []
        keys: set[tuple[UUID, str]] = set()
        later = []
        while self._waiting and len(group) < most:
            waiting = self._waiting.popleft()
            if waiting.key in keys:
                later.append(waiting)
            elif waiting.begin():
                group.append(waiting)
                if waiting.key is not None:
                    keys.add(waiting.key)
        self._waiting.extendleft(reversed(later))
        return group


class _Waiting(Pending[Receipt], kw_only=True, eq=False):
    """A mail, and what comes of it. `key`: what two of one transaction must not share."""

    message: NewMessage
    key: tuple[UUID, str] | None

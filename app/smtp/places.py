"""So many at a time, first come, first served."""

import asyncio
from collections import deque
from collections.abc import Hashable

from app.smtp.failure import Failure, SmtpFailure
from app.smtp.loan import Loan


class Places:
    """Each has a place of its own, or shares one that another has. Their number may change meanwhile."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = count
        self._taken = 0
        self._waiting: deque[tuple[Hashable, asyncio.Future[Loan | None]]] = deque()

    def resize(self, count: int) -> None:
        """From now on there are `count`; where more are taken, none is given until enough are free."""
        if count != self._count:
            self._count = count
            self._admit()

    def take(self) -> bool:
        """Take a place of its own, where that needs no waiting; whether it did."""
        if self._waiting or self._taken >= self._count:
            return False
        self._taken += 1
        return True

    def is_full(self) -> bool:
        """Whether the next one has to wait."""
        return self._taken >= self._count

    def are_wanted(self) -> bool:
        """Whether anybody has one, or waits."""
        return bool(self._taken or self._waiting)

    def may_be_shared(self) -> bool:
        """Whether somebody waits, and no place has to be given up."""
        return bool(self._waiting) and self._taken <= self._count

    def ask(self, rides: Hashable = None) -> "asyncio.Future[Loan | None]":
        """What is given once it is there: a place (None), for which `free` is to be called, or with `rides` a loan of
        that version to be shared."""
        given: asyncio.Future[Loan | None] = self._loop.create_future()
        self._waiting.append((rides, given))
        if not self.is_full():
            self._admit()
        return given

    def share(self, loan: Loan) -> bool:
        """Give the loan to the first one that waits for one; whether there was one."""
        for waiting in self._waiting:
            rides, given = waiting
            if rides == loan.version and not given.done():
                self._waiting.remove(waiting)
                given.set_result(loan)
                return True
        return False

    def refuse(self, version: Hashable, failure: Failure) -> None:
        """Raise SmtpFailure for all that wait and would share a loan of that version."""
        for rides, given in self._waiting:
            if rides == version and not given.done():
                given.set_exception(SmtpFailure(failure))

    def free(self) -> None:
        """A place is free again."""
        self._taken -= 1
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._taken < self._count:
            _, given = self._waiting.popleft()
            if not given.done():
                self._taken += 1
                given.set_result(None)

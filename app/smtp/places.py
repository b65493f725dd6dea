"""So many at a time, first come, first served."""

import asyncio
from collections import deque
from collections.abc import Hashable

from app.smtp.failure import Failure, SmtpFailure
from app.smtp.loan import Loan


class Places:
    """Each has a place of its own, or shares one that another has. Their number may change meanwhile."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken = 0
        self._waiting: deque[Visitor] = deque()

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

    @property
    def is_full(self) -> bool:
        """Whether the next one has to wait."""
        return self._taken >= self._count

    @property
    def may_be_shared(self) -> bool:
        """Whether somebody waits, and no place has to be given up."""
        return bool(self._waiting) and self._taken <= self._count

    def ask(self, rides: Hashable = None) -> "Visitor":
        """Who waits for a place, or with `rides` for a loan of that version; `free` is to be called for a place."""
        visitor = Visitor(asyncio.get_running_loop().create_future(), rides)
        self._waiting.append(visitor)
        if not self.is_full:
            self._admit()
        return visitor

    def share(self, loan: Loan) -> bool:
        """Give the loan to the first one that waits for one; whether there was one."""
        for visitor in self._waiting:
            if visitor.rides == loan.version and not visitor.given.done():
                self._waiting.remove(visitor)
                visitor.given.set_result(loan)
                return True
        return False

    def refuse(self, version: Hashable, failure: Failure) -> None:
        """Raise SmtpFailure for all that wait and would share a loan of that version."""
        for visitor in self._waiting:
            if visitor.rides == version and not visitor.given.done():
                visitor.given.set_exception(SmtpFailure(failure))

    def free(self) -> None:
        """A place is free again."""
        self._taken -= 1
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._taken < self._count:
            visitor = self._waiting.popleft()
            if not visitor.given.done():
                self._taken += 1
                visitor.given.set_result(None)


class Visitor:
    """`given`: a place of its own (None), or a loan that it shares. `rides`: of which version that may be."""

    __slots__ = ("given", "rides")

    def __init__(self, given: "asyncio.Future[Loan | None]", rides: Hashable) -> None:
        self.given = given
        self.rides = rides

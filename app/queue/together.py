"""What several tasks want of the database at the same time goes in one transaction: while one is under way, the next
one gathers."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar

from app.database.finish import Pending, begin_next

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class Take(Protocol[Item_co]):
    """Says which items are to be done now: all that wait, or at most so many."""

    def __call__(self, most: int | None = None, /) -> Sequence[Item_co]: ...


class Together(Generic[Item]):
    """`work` does what is wanted, and writes the outcome into each item. It is given a function that says which items
    they are, at most `most`: to be called once it can begin, because more have come until then."""

    def __init__(self, work: Callable[[Take[Item]], Coroutine[Any, Any, None]], most: int = 100) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[_Asked[Item]] = deque()
        self._is_working = False

    def do(self, item: Item, *, surely: bool = False) -> Coroutine[Any, Any, None]:
        """What is returned is to be awaited at once: it returns when the item is done, and raises what the work with
        it, and with others, failed with. Cancelled before that has begun, it is never done, unless it is to be done
        `surely`; else the cancellation is raised when it is over."""
        asked = _Asked(item=item)
        self._waiting.append(asked)
        if not self._is_working:
            self._is_working = True
            # In a context of its own: it goes on for others than the one who happens to begin it.
            asyncio.get_running_loop().create_task(self._do_all(), context=Context())
        return asked.outlast() if surely else asked.wait()

    async def _do_all(self) -> None:
        try:
            while self._waiting:
                await self._do_next()
        finally:
            self._is_working = False

    async def _do_next(self) -> None:
        group: list[_Asked[Item]] = []

        def take(most: int | None = None, /) -> list[Item]:
            group[:] = begin_next(self._waiting, most or self._most)
            return [asked.item for asked in group]

        error: BaseException | None = None
        try:
            await self._work(take)
        except BaseException as failed:
            error = failed
            group = group or begin_next(self._waiting, self._most)
            if not isinstance(failed, Exception):
                raise
        finally:
            for asked in group:
                asked.tell(error)


class _Asked(Pending[None], Generic[Item], kw_only=True, eq=False):
    """An item, and who waits until it is done."""

    item: Item

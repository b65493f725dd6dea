"""Run a piece of work to its end, also when the task that waits for it is cancelled."""

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from msgspec import Struct, field

T = TypeVar("T")

_WAITING, _WITHDRAWN, _BEGUN, _OVER = range(4)  # the members of an Enum take several times as long to get


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which always runs to its end; only then is a cancellation that came meanwhile raised.

    Where the work failed as well, its exception is the cause of the CancelledError.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await _ended(task)
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is None:
        return task.result()
    raise cancellation from None if task.cancelled() else task.exception()


async def settled(future: "asyncio.Future[Any]") -> None:
    """Wait until it has its result, however often this is cancelled."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await _ended(future)


def _ended(awaited: "asyncio.Future[Any]") -> "asyncio.Future[None]":
    """Whose cancellation is not that of what is waited for. asyncio.shield takes longer, asyncio.wait still more."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    awaited.add_done_callback(tell)
    return waiter


def _new_future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


class Pending(Struct, Generic[T], kw_only=True, eq=False):
    """A result that one task waits for, and others work for. Who is cancelled while it waits has it never begun, or
    waits until it is over: then it is sure what was done."""

    _future: asyncio.Future[T] = field(default_factory=_new_future)
    _over: asyncio.Future[None] | None = None
    _state: int = _WAITING

    async def wait(self) -> T:
        """The result; raises what it failed with."""
        try:
            return await self._future
        except asyncio.CancelledError:
            if not self._withdraw():
                await self._until_over()
            raise

    async def outlast(self) -> T:
        """As `wait`; but who is cancelled waits until it is over in any case."""
        try:
            return await self._future
        except asyncio.CancelledError:
            await self._until_over()
            raise

    def begin(self) -> bool:
        """Whether anybody still waits for it; then it begins. On any thread."""
        with _turning:
            if self._state == _WAITING:
                self._state = _BEGUN
            return self._state == _BEGUN

    def tell(self, result: T | BaseException) -> None:
        """It is over; told again, nothing changes. Call it in the event loop."""
        if self._state == _OVER:
            return
        self._state, future = _OVER, self._future
        if future.done():  # who waited for it was cancelled
            if self._over is not None:
                self._over.set_result(None)
        elif isinstance(result, BaseException):
            future.set_exception(result)
            future.exception()  # who was cancelled does not ask for it
        else:
            future.set_result(result)

    async def _until_over(self) -> None:
        if self._state != _OVER:
            self._over = asyncio.get_running_loop().create_future()
            await settled(self._over)

    def _withdraw(self) -> bool:
        with _turning:
            if self._state == _WAITING:
                self._state = _WITHDRAWN
            return self._state == _WITHDRAWN


_turning = threading.Lock()

_Waiting = TypeVar("_Waiting", bound=Pending[Any])


def begin_next(waiting: deque[_Waiting], most: int) -> list[_Waiting]:
    """Take those that have waited longest out of `waiting`, at most so many, but for whom nobody waits any more: they
    begin. On any thread."""
    begun: list[_Waiting] = []
    if not waiting:
        return begun
    with _turning:
        while waiting and len(begun) < most:
            pending = waiting.popleft()
            if pending._state == _WAITING:
                pending._state = _BEGUN
                begun.append(pending)
    return begun

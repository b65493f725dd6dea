"""Run a piece of work to its end, also when the task that waits for it is cancelled."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


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

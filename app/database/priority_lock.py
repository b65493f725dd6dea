"""Who is next at a resource that one task has at a time."""

import asyncio
from collections import deque
from typing import Literal


class PriorityLock(asyncio.Lock):
    """A lock that is handed on in the order of asking, but to the urgent ones first."""

    def __init__(self) -> None:
        super().__init__()
        self._is_taken = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()

    def locked(self) -> bool:
        """Whether some task has it."""
        return self._is_taken

    def acquire_at_once(self) -> bool:
        """Take it if it is free; whether it was."""
        if self._is_taken:
            return False
        self._is_taken = True
        return True

    async def acquire(self, *, urgent: bool = False) -> Literal[True]:
        """Wait for it. Cancelled meanwhile, the task neither has it nor keeps it from others."""
        if self.acquire_at_once():
            return True
        waiter = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._patient).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release()  # it was handed over just before
            raise
        return True

    def release(self) -> None:
        """Hand it on. RuntimeError when no task has it."""
        if not self._is_taken:
            raise RuntimeError("the lock is not taken")
        for waiting in (self._urgent, self._patient):
            while waiting:
                waiter = waiting.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._is_taken = False

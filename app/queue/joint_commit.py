"""On SQLite, what is in no hurry goes in one commit with what is: an fsync costs more than all they write."""

import asyncio


class JointCommit:
    """Who begins to write says so; who can wait for that begins right behind, in the same commit."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        """A transaction begins in this turn of the event loop."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for begun in waiting:
            _tell(begun)

    async def wait(self, seconds: float) -> None:
        """Return once one begins, or after so many seconds."""
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[None] = loop.create_future()
        self._waiting.append(begun)
        timer = loop.call_later(seconds, _tell, begun)
        try:
            await begun  # by itself: whatever goes between wakes this task too late for that commit
        finally:
            timer.cancel()


def _tell(begun: "asyncio.Future[None]") -> None:
    if not begun.done():
        begun.set_result(None)

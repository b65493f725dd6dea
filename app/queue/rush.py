"""Accepting goes before delivering, where one process does both: who sends a mail waits for its answer, and a mail in
the queue can wait."""

import asyncio
from contextlib import suppress


class Rush:
    """Is on while more than `most` mails are being accepted at a time. Then no delivery begins for up to `pause`
    seconds, and after that one of each service, so that deliveries go on however long it lasts."""

    def __init__(self, most: int = 8, pause: float = 0.005) -> None:
        self._most = most
        self._pause = pause
        self._accepting = 0
        self._over: asyncio.Future[None] | None = None

    @property
    def is_on(self) -> bool:
        """Whether deliveries hold back."""
        return self._accepting > self._most

    def begin(self) -> None:
        """A mail is being accepted, until `end` is called for it."""
        self._accepting += 1

    def end(self) -> None:
        """It is accepted or refused."""
        self._accepting -= 1
        if self._over is not None and not self.is_on and not self._over.done():
            self._over.set_result(None)

    async def hold_back(self) -> bool:
        """Return once it is over, or `pause` seconds have passed: whether it is on still. For one task at a time."""
        if not self.is_on:
            return False
        over = self._over = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause):
                await over
        return self.is_on

"""Wait until every recipient of a message has had its first verdict."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from app.database.connection import rows
from app.queue.states import MessageState
from app.queue.wakeup import Wakeup

_UNDECIDED = frozenset({MessageState.QUEUED, MessageState.SENDING})


@dataclass(frozen=True, slots=True)
class VerdictWaiter:
    """Waits on the row: woken by this process's worker, and looking every `poll` seconds for another's."""

    wakeup: Wakeup
    poll: float
    _stopping: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def stop(self) -> None:
        """The server stops: from now on every wait ends at once, as if its time were over."""
        self._stopping.set()
        self.wakeup.look_again()

    async def wait(self, message_id: UUID, seconds: float) -> MessageState:
        """The message's state once it is neither queued nor being sent, or after `seconds`, or `stop`."""
        deadline = asyncio.get_running_loop().time() + seconds
        with self.wakeup.watching(message_id) as changed:
            while (state := await _state(message_id)) in _UNDECIDED:
                remaining = deadline - asyncio.get_running_loop().time()
                if remaining <= 0 or self._stopping.is_set():
                    break
                try:
                    async with asyncio.timeout(min(self.poll, remaining)):
                        await changed.wait()
                except TimeoutError:
                    continue
                changed.clear()
        return state

    async def wait_and_end(self, message_id: UUID, seconds: float) -> MessageState:
        """Like `wait`; then the message counts as no longer awaited, so that an answer "queued" stays true.

        The state returned is read in the statement that ends the wait: a fault of the service either failed the
        mail before it, and shows, or defers the mail after it.
        """
        await self.wait(message_id, seconds)
        ended = await rows("UPDATE message SET verdict_awaited = $2 WHERE id = $1 RETURNING state", message_id, False)
        return MessageState(ended[0]["state"])


async def _state(message_id: UUID) -> MessageState:
    found = await rows("SELECT state FROM message WHERE id = $1", message_id)
    return MessageState(found[0]["state"])

"""Mails that go through a pool with one connection, side by side."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from app.inbox.receiver import EXTENSIONS, Receiver, SessionLog
from app.mail.envelope import Envelope
from app.smtp.pool import Pool
from app.smtp.server import Server, Timeouts
from app.smtp.transaction import TransactionResult, transact
from tests.smtp.conftest import Clock

MakeServer = Callable[..., Server]

DATA = frozenset(EXTENSIONS)
BDAT = DATA | {"CHUNKING"}
CONTENT = b"Subject: x\r\n\r\n.hello\r\n..\r\n.\r\n"
LARGE = b"Subject: x\r\n\r\n" + (b"." * 76 + b"\r\n") * 4000


class Line:
    """Mails that are sent through a pool with one connection, side by side."""

    def __init__(self, pool: Pool, server: Server) -> None:
        self.pool = pool
        self.server = server

    async def send(
        self,
        number: int,
        *,
        recipients: int = 1,
        content: bytes = CONTENT,
        may_finish: Callable[[Collection[str]], Awaitable[bool]] | None = None,
        rides: bool = True,
    ) -> TransactionResult:
        """As an attempt does: bumped, it goes again at once."""
        addresses = tuple(f"r{place}@{number}.example" for place in range(recipients))
        envelope = Envelope(f"{number}@example.org", addresses)
        more: dict[str, Any] = {"may_finish": may_finish} if may_finish else {}
        async with self.pool.borrow("service", 1, self.server, rides=rides) as connection:
            result = await transact(connection, envelope, content, self.server.timeouts, **more)
        if result.is_bumped and rides:
            return await self.send(number, recipients=recipients, content=content, rides=False, **more)
        return result

    async def send_all(self, count: int, **given: Any) -> list[TransactionResult]:
        return await asyncio.gather(*(self.send(number, **given) for number in range(count)))

    async def send_each(self, contents: Sequence[bytes]) -> list[TransactionResult]:
        return await asyncio.gather(*(self.send(number, content=content) for number, content in enumerate(contents)))


@asynccontextmanager
async def line(
    receiver: Receiver | int, server_for: MakeServer, clock: Clock, *, timeouts: Timeouts | None = None, **options: Any
) -> AsyncIterator[Line]:
    options = {"max_connections": 1, "max_messages": 1000} | options
    pool = Pool(idle_limit=25, noop_after=5, limit_pause=0.01, clock=clock, **options)
    try:
        yield Line(pool, server_for(receiver, **({"timeouts": timeouts} if timeouts else {})))
    finally:
        await pool.close()


def codes(results: Sequence[TransactionResult]) -> list[set[int]]:
    return [{reply.code for reply in result.replies.values()} for result in results]


def any_rode(session: SessionLog) -> bool:
    """Whether any envelope came without being waited for: by itself each mail takes two waits."""
    return session.waits < 2 * session.mails


def senders(receiver: Receiver) -> list[str]:
    return [mail.reverse_path.partition("@")[0] for mail in receiver.mails]

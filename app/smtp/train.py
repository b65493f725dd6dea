"""The transactions on one connection, one behind the other: who may write, and whose replies come next."""

import asyncio
import contextlib
from collections.abc import Callable

from aiosmtplib import SMTPServerDisconnected

from app.smtp.failure import Cause, Failure, Phase, SmtpFailure

RSET = b"RSET\r\n"


class Unseated(SmtpFailure):
    """The connection ended with a transaction before this one; `failure` is that one's."""


class Train:
    """Replies come in the order of the commands (RFC 2920), so a transaction may write its envelope as soon as the one
    before it has written its end, and reads once that one has its last reply. `write` takes octets and how many replies
    they have; `close` closes the connection. `last`: the transaction that came last."""

    def __init__(self, write: Callable[[bytes, int], None], close: Callable[[], None]) -> None:
        self._write = write
        self._close = close
        self.last: Turn | None = None
        self._broken: Failure | None = None

    @property
    def has_ended(self) -> bool:
        """Whether transactions are under way, and all have written their end."""
        return self.last is not None and self.last.has_ended

    def board(self) -> "Turn":
        """The turn of another transaction, behind all that are there."""
        before = self.last
        self.last = turn = Turn(self, before)
        if before is not None:
            before.behind = turn
        return turn

    def _remove(self, turn: "Turn", failure: Failure | None, *, in_transaction: bool) -> None:
        before, behind = turn.before, turn.behind
        self._uncouple(turn)
        if before is None and failure is not None:
            self._break(failure, behind)
        elif before is None and behind is not None:
            self._begin(behind)
        if behind is not None and behind.has_kept() and self._broken is None and behind.is_clear():
            with contextlib.suppress(SMTPServerDisconnected):  # it will find out when it reads
                behind.flush(after_refusal=in_transaction)

    def _uncouple(self, turn: "Turn") -> None:
        before, behind = turn.before, turn.behind
        if before is not None:
            before.behind = behind
        if behind is not None:
            behind.before = before
        else:
            self.last = before
        turn.before = turn.behind = None

    def _begin(self, turn: "Turn") -> None:
        """It is the first one now."""
        if turn.is_abandoned:
            behind = turn.behind
            self._uncouple(turn)
            self._close()
            self._break(BROKEN_OFF, behind)
        turn.wake()

    def _break(self, failure: Failure, first: "Turn | None") -> None:
        self._broken = self._broken or failure
        while first is not None:
            first.wake()
            first = first.behind


BROKEN_OFF = Failure(Phase.MAIL, Cause.DISCONNECTED, "The transaction before it was broken off.")


class Turn:
    """One transaction's place in the line, right `behind` the one `before` it. `has_ended`: its last octet is written.
    `has_reset`: RSET goes before its commands, and has a reply. `is_abandoned`: it was given up with replies to
    come."""

    __slots__ = (
        "_gate",
        "_kept",
        "_replies",
        "_train",
        "before",
        "behind",
        "has_ended",
        "has_reset",
        "is_abandoned",
        "is_clean",
        "is_sent",
    )

    def __init__(self, train: Train, before: "Turn | None") -> None:
        self._train = train
        self.before = before
        self.behind: Turn | None = None
        self.has_ended = self.has_reset = self.is_abandoned = self.is_sent = False
        self.is_clean = True
        self._gate: asyncio.Future[None] | None = None
        self._kept, self._replies = b"", 0

    def is_first(self) -> bool:
        """Whether the next reply is its own."""
        return self.before is None

    def has_kept(self) -> bool:
        """Whether it has commands that are not written."""
        return bool(self._kept)

    def is_clear(self) -> bool:
        """Whether it may write: all before it have written their end."""
        return self.before is None or self.before.has_ended

    def is_followed(self) -> bool:
        """Whether another one has written behind its end."""
        return self.behind is not None and self.behind.is_sent

    def send(self, group: bytes, replies: int, *, in_transaction: bool) -> None:
        """Write the commands, now or in one write with the end of the one before. Raises SMTPServerDisconnected.

        What is behind a transaction that may leave the server in the midst of it (BDAT refused) begins with RSET; so
        does what comes once that one has left it there (`in_transaction`).
        """
        self.check()
        self._kept, self._replies = group, replies
        if self.before is None or self.before.has_ended:
            self.flush(after_refusal=in_transaction)

    def flush(self, *, after_refusal: bool) -> None:
        """Write what was kept. `after_refusal`: the server is in the midst of a transaction that goes no further."""
        if self._kept:
            after_refusal = not self.before.is_clean if self.before is not None else after_refusal
            octets, replies = self._take(after_refusal=after_refusal)
            self._train._write(octets, replies)

    def end(self, *, is_clean: bool) -> tuple[bytes, int]:
        """To be called with the last octets of the transaction: what goes right behind them, and its replies.
        `is_clean`: nothing of the transaction is left afterwards, whatever the reply."""
        self.has_ended, self.is_clean, self.is_sent = True, is_clean, True
        behind = self.behind
        if behind is None or not behind._kept:
            return b"", 0
        return behind._take(after_refusal=not is_clean)

    def pass_on(self) -> None:
        """All of it is written, and nothing else is: what is right behind it goes now."""
        behind, replies = self.end(is_clean=False)
        if behind:
            with contextlib.suppress(SMTPServerDisconnected):  # it will find out when it reads
                self._train._write(behind, replies)

    async def wait(self) -> None:
        """Return when its replies are the next to come. Raises Unseated."""
        if self.before is not None and self._train._broken is None:
            self._gate = asyncio.get_running_loop().create_future()
            try:
                await self._gate
            finally:
                self._gate = None
        self.check()

    def check(self) -> None:
        """Raises Unseated where the connection has ended with another one."""
        if self._train._broken is not None:
            raise Unseated(self._train._broken)

    def wake(self) -> None:
        """Let who waits look again."""
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    def leave(self, failure: Failure | None, *, in_transaction: bool) -> None:
        """It has read its last reply, or never will; `failure`: of the connection, which is closed."""
        if self.before is None or not self.is_sent or self._train._broken is not None:
            self._train._remove(self, failure, in_transaction=in_transaction)
        else:
            self.is_abandoned = True

    def _take(self, *, after_refusal: bool) -> tuple[bytes, int]:
        octets, replies = self._kept, self._replies
        self._kept, self.is_sent, self.has_reset = b"", True, after_refusal
        return (RSET + octets, replies + 1) if after_refusal else (octets, replies)

"""What the doors of one process are putting in the queue: its worker gives way to that, and shares its commits."""

from app.queue.joint_commit import JointCommit


class Intake:
    """Counts the mails that are being put, and says when a transaction begins that puts some of them."""

    def __init__(self) -> None:
        self.under_way = 0
        """How many mails are being put right now."""
        self.ended = 0
        """How many have been, accepted or not."""
        self._next_commit = JointCommit()

    def begin(self) -> None:
        """One more is being put."""
        self.under_way += 1

    def end(self) -> None:
        """One of them was accepted, or was not."""
        self.under_way -= 1
        self.ended += 1
        if not self.under_way:
            self._next_commit.begin()  # nobody is left to wait for

    def commit_begins(self) -> None:
        """A transaction that puts some of them begins in this turn of the event loop."""
        self._next_commit.begin()

    async def next_commit(self, seconds: float) -> None:
        """Return as the next one begins: on SQLite, who writes right then shares its commit. Or once no mail is being
        put any more, and after so many seconds at the latest."""
        if self.under_way:
            await self._next_commit.wait(seconds)

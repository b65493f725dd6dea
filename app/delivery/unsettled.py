"""How many mails a server may have while nobody has written that down: a process that dies then leaves them to be sent
again. And what waits so that the results of many of them share a commit."""

import asyncio
import contextlib
from dataclasses import dataclass
from uuid import UUID

from app.database.connection import dialect
from app.queue.joint_commit import JointCommit
from app.smtp.places import Places


@dataclass(frozen=True, slots=True)
class UnsettledPolicy:
    """`per_connection`: mails of a service that may have left without a written result, for each connection that it may
    have. `settle_wait`: seconds that results wait at most for those that are about to come; `claim_wait`: that claims
    wait for results."""

    per_connection: int = 2
    settle_wait: float = 0.005
    claim_wait: float = 0.005


class Unsettled:
    """Of each service so many, however many mails go behind each other on its connections."""

    def __init__(self, policy: UnsettledPolicy = UnsettledPolicy()) -> None:
        self._policy = policy
        self._places: dict[int, Places] = {}
        self._unanswered = 0
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self.joint_commit = JointCommit()

    def slot(self, service_id: UUID) -> "Slot":
        """For the transactions of one attempt."""
        key = service_id.int  # of that a hash is quickly worked out
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = Places(1)
        return Slot(self, places, self._policy.per_connection)

    async def before_settling(self) -> None:
        """While servers are about to answer, results have time."""
        if self._unanswered:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._policy.settle_wait):
                    await self._all_answered.wait()

    async def before_claiming(self) -> None:
        """On SQLite, claims have time to share the results' commit while a service has as many mails as it may, and its
        next one waits for them."""
        if any(places.is_full() for places in self._places.values()) and dialect() == "sqlite":
            await self.joint_commit.wait(self._policy.claim_wait)

    def _asked(self) -> None:
        self._unanswered += 1
        if self._unanswered == 1:
            self._all_answered.clear()

    def _answered(self) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._all_answered.set()


class Slot:
    """Taken before the end of the content is sent, freed once the result is written, at the latest with the attempt."""

    __slots__ = ("_is_taken", "_is_unanswered", "_per_connection", "_places", "_unsettled")

    def __init__(self, unsettled: Unsettled, places: Places, per_connection: int) -> None:
        self._unsettled = unsettled
        self._places = places
        self._per_connection = per_connection
        self._is_taken = False
        self._is_unanswered = False

    def take(self, connections: int) -> bool:
        """Take one of those that a service with so many connections has, if one is free; whether it is taken, which it
        is once. From then on an answer is awaited."""
        if not self._is_taken:
            self._places.resize(connections * self._per_connection)
            if not self._places.take():
                return False
            self._note_taken()
        return True

    async def wait(self) -> None:
        """Take the next one that is free, first come, first served, as `take` could not."""
        given = self._places.ask()
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():
                self._places.free()  # it was given in the same moment
            raise
        self._note_taken()

    def answered(self) -> None:
        """The server has answered, or never will."""
        if self._is_unanswered:
            self._is_unanswered = False
            self._unsettled._answered()

    def free(self) -> None:
        """Let the next one have it, if it was taken."""
        if self._is_taken:
            self.answered()
            self._is_taken = False
            self._places.free()

    def _note_taken(self) -> None:
        self._is_taken = self._is_unanswered = True
        self._unsettled._asked()

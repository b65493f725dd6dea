"""What is known of a message as soon as it is put, by the names that Message and Recipient have for it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.graphql.types import Message, RecipientKind
from app.mail.envelope import EnvelopeRecipient
from app.queue.accepted import as_stored
from app.queue.put import NewMessage
from app.queue.states import MessageState, RecipientState


class QueuedMessage:
    """A message that was put just now. What is more than its id and its state is made when that is looked at."""

    __slots__ = ("_made", "_moment", "_put", "id")

    state = MessageState.QUEUED

    def __init__(self, public_id: str, put: NewMessage, moment: datetime) -> None:
        self.id = public_id
        self._put = put
        self._moment = moment
        self._made: Message | None = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = Message.of(as_stored(self._put, self._moment))
        return getattr(self._made, name)


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One of its recipients."""

    kind: RecipientKind
    email: str
    name: str | None
    state: RecipientState = RecipientState.QUEUED
    attempt_count: int = 0

    @classmethod
    def of(cls, recipient: EnvelopeRecipient) -> "QueuedRecipient":
        """The recipient of the envelope."""
        return cls(RecipientKind(recipient.kind), recipient.email, recipient.name)

"""A connection that is lent out, and how many transactions it carries."""

from collections.abc import Hashable
from dataclasses import dataclass

from msgspec import Struct

from app.smtp.connection import Connection
from app.smtp.server import Server
from app.smtp.train import Turn


@dataclass(slots=True)
class Wish:
    """What somebody wants to borrow: a connection of this key, made for this version; with `fresh` a new one, with
    `rides` one that others are on already will do."""

    key: Hashable
    version: int
    server: Server
    fresh: bool
    rides: bool


class Loan(Struct, eq=False):
    """`aboard` have borrowed it, one behind the other: up to `window` of them with BDAT, with DATA two, and
    `max_messages` one after the other. `is_spoiled`: one of them failed, so that it is closed after the last one.
    `inviter`: the transaction behind which the last one of them came."""

    key: Hashable
    version: int
    server: Server
    connection: Connection
    window: int
    max_messages: int
    aboard: int = 1
    is_spoiled: bool = False
    inviter: Turn | None = None

    def spoil(self) -> None:
        """One of its borrowers raised, or was cancelled."""
        self.is_spoiled = True
        if self.aboard == 1:
            self.connection.close()

    def has_seat(self) -> bool:
        """Whether another transaction may come aboard, once the last one has written its end."""
        connection, aboard = self.connection, self.aboard
        return (
            aboard < self.window
            and (aboard < 2 or connection.chunking)
            and connection.messages_sent + aboard < self.max_messages
            and not self.is_spoiled
            and connection.pipelining
            and connection.usable
        )

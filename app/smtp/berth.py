"""What a pool has of one key: connections that are warm, lent, or being made, and what went wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from msgspec import Struct

from app.smtp.connection import Connection
from app.smtp.failure import Failure, SmtpFailure
from app.smtp.loan import Loan
from app.smtp.places import Places


class Idle(Struct, frozen=True, eq=False):
    """A warm connection that nobody has, made for this version, since then."""

    connection: Connection
    version: int
    since: datetime


@dataclass(slots=True)
class Making:
    """A connection that is being made, and what came in between."""

    version: int
    failure: Failure | None = None

    def share_failure(self) -> None:
        """For one who waited for it: raises SmtpFailure if it ended so."""
        if self.failure is not None:
            raise SmtpFailure(self.failure)


@dataclass(frozen=True, slots=True)
class Refused:
    """AUTH that failed."""

    version: int
    failure: Failure
    since: datetime


@dataclass(slots=True)
class Berth:
    """The connections of one key. The last one lent is lent first, so that those not needed grow idle. `version`: of
    all that are idle, None where that is not known. `inviting`: the loans that may be shared by the next one who asks.
    `making`: the one being made that needs AUTH; the next one waits."""

    places: Places
    idle: list[Idle] = field(default_factory=list)
    version: int | None = None
    inviting: dict[Loan, None] = field(default_factory=dict)
    making: Making | None = None
    refused: Refused | None = None

    def put(self, idle: Idle) -> None:
        """Nobody has it any more; it becomes the last one."""
        self.version = idle.version if not self.idle or self.version == idle.version else None
        self.idle.append(idle)

    def keep(self, worth: Callable[[Idle], bool]) -> bool:
        """Keep the idle ones that are worth it, say QUIT to the others; whether there are any."""
        others = [idle for idle in self.idle if not worth(idle)]
        if others:
            self.idle = [idle for idle in self.idle if idle not in others]
            for idle in others:
                idle.connection.quit_soon()
        return bool(others)

"""The output type of what a service has used of its limits."""

from datetime import datetime
from typing import Self

import strawberry

from app.services import usage
from app.services.usage import LimitName

strawberry.enum(LimitName, description="The limits of a service that are used up, and free again with time.")


@strawberry.type(description="How much of one limit is used. What is over the limits waits, and costs no attempt.")
class Usage:
    name: LimitName = strawberry.field(description="Which limit.")
    used: int = strawberry.field(
        description="Recipients that were claimed within the window, every attempt counted. Of MESSAGES_PER_SECOND: the"
        " messages whose turn was given and is not over."
    )
    limit: float = strawberry.field(description="How many are allowed.")
    free_at: datetime | None = strawberry.field(description="When more is free; null: something is free now.")

    @classmethod
    def of(cls, row: usage.Usage) -> Self:
        return cls(name=row.name, used=row.used, limit=row.limit, free_at=row.free_at)

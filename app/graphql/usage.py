"""The output types of what was used of limits: those of a service, and rate limits."""

from datetime import datetime
from typing import Self

import strawberry

from app.access.quota import Scope, Standing
from app.services import usage
from app.services.usage import LimitName

strawberry.enum(LimitName, description="The limits that are used up, and free again with time.")
strawberry.enum(
    Scope,
    name="RateLimitScope",
    description="What a rate limit is set on: the role, its grant for a service, the API key, or with a browser key the"
    " client's address.",
)


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


@strawberry.type(description="How much of one rate limit is used. A mail that does not fit is refused: RATE_LIMITED.")
class RateLimit:
    name: LimitName = strawberry.field(description="Which window.")
    scope: Scope = strawberry.field(description="What the limit is set on.")
    limit: int = strawberry.field(description="How many recipients are allowed in the window.")
    used: int = strawberry.field(description="Recipients of the mail that was accepted within the window.")
    remaining: int = strawberry.field(description="How many are free right now.")
    reset_at: datetime | None = strawberry.field(
        description="When all of it is free again, if nothing more is sent; null: it is. Some of it is free earlier."
    )

    @classmethod
    def of(cls, standing: Standing) -> Self:
        return cls(
            name=LimitName(f"recipients_per_{standing.span}"),
            scope=standing.scope,
            limit=standing.limit,
            used=standing.used,
            remaining=standing.remaining,
            reset_at=standing.reset_at,
        )

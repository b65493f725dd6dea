"""Rate limits of roles, grants and API keys: how they are given, and how they show."""

from typing import Any, Self

import strawberry

from app.limits.recipients import NO_LIMITS, given_limits
from app.limits.recipients import RecipientLimits as Limits


@strawberry.input(description="To how many recipients mail may be sent; what is absent or null has no limit.")
class RecipientLimitsInput:
    per_minute: int | None = strawberry.field(default=None, description="At most so many in any minute.")
    per_hour: int | None = strawberry.field(default=None, description="At most so many in any hour.")
    per_day: int | None = strawberry.field(default=None, description="At most so many in any 24 hours.")


@strawberry.type(description="To how many recipients mail may be sent.")
class RecipientLimits:
    per_minute: int | None = strawberry.field(description="At most so many in any minute; null: no limit.")
    per_hour: int | None = strawberry.field(description="At most so many in any hour; null: no limit.")
    per_day: int | None = strawberry.field(description="At most so many in any 24 hours; null: no limit.")

    @classmethod
    def of(cls, row: object, prefix: str = "") -> Self:
        limits = given_limits(vars(row), prefix)
        return cls(per_minute=limits.per_minute, per_hour=limits.per_hour, per_day=limits.per_day)


def read_limits(given: RecipientLimitsInput | None) -> Limits:
    """What was given, as values."""
    return Limits(**vars(given)) if given else NO_LIMITS


def with_limits(changes: dict[str, Any]) -> dict[str, Any]:
    """The changes of an input with its limits, where it names them, as values."""
    return changes | {"limits": read_limits(changes["limits"])} if "limits" in changes else changes

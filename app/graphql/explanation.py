"""The output types of why a mail has not left yet."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self

import strawberry

from app.queue import explain
from app.queue.explain import Cause, Waiting, Way
from app.queue.lookup import StoredMessage, StoredRecipient

strawberry.enum(
    Cause,
    name="DelayCause",
    description="What keeps a mail back, in the order in which it has to get past: its own schedule, a hold, its "
    "service (not active, paused, its server not to be talked to), no worker, the service's limits, backoff after a "
    "4yz reply, other mail that goes first, and that it expires before. FALLBACK tells of the other services by which "
    "it might leave.",
)


@strawberry.type(description="One thing that keeps a mail back.")
class Delay:
    cause: Cause = strawberry.field(description="For programs.")
    message: str = strawberry.field(description="One sentence for people.")
    until: datetime | None = strawberry.field(description="When it ends; null where nobody knows.")


@strawberry.type(description="Why a mail has not left yet.")
class Explanation:
    reasons: list[Delay] = strawberry.field(
        description="Everything that keeps it back, in order; empty once every recipient is settled."
    )
    eta: datetime | None = strawberry.field(
        description="When its next recipient will probably be tried: an estimate. Null when that cannot be foreseen, "
        "as with a pause, and once every recipient is settled."
    )

    @classmethod
    def of(cls, message: StoredMessage, recipients: Sequence[StoredRecipient], way: Way, moment: datetime) -> Self:
        waiting = [
            Waiting(row.state, row.next_attempt_at, row.attempt_number, str(row.reply) if row.reply else row.detail)
            for row in recipients
        ]
        explanation = explain.explain(waiting, message.scheduled_at, way, moment, message.expires_at)
        reasons = [
            Delay(cause=reason.cause, message=reason.message, until=reason.until) for reason in explanation.reasons
        ]
        return cls(reasons=reasons, eta=explanation.eta)

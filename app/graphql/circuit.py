"""The output type of a service's open circuit."""

from datetime import datetime
from typing import Self

import strawberry

from app.services.circuit import Circuit as StoredCircuit


@strawberry.type(
    description="An open circuit: the server cannot be talked to. Mail is accepted and kept, no attempt counts, and "
    "one probe per interval finds out when the server is back."
)
class Circuit:
    opened_at: datetime = strawberry.field(description="Since when.")
    reason: str = strawberry.field(description="What the last probe met.")
    next_probe_at: datetime = strawberry.field(description="When the next mail is tried.")

    @classmethod
    def of(cls, circuit: StoredCircuit) -> Self:
        return cls(opened_at=circuit.opened_at, reason=circuit.reason, next_probe_at=circuit.probe_at)

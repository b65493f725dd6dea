"""What an attempt found out about its service's server, for the service's circuit."""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from app.database.key import public_id
from app.queue.claim import Claim
from app.queue.forgive import forgive_outage
from app.services.circuit import CircuitPolicy, Fault, close_circuit, open_circuit

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ServiceNote:
    """The attempt of `claim` met this fault, or `reached` the server: a session was ready for mail."""

    claim: Claim
    fault: Fault | None
    moment: datetime
    policy: CircuitPolicy
    reached: bool
    _opened: bool = field(default=False, init=False)
    _open_since: datetime | None = field(default=None, init=False)

    async def write(self) -> None:
        """Open the circuit, or close it if this was its probe: what anybody else reached says nothing new.

        Call it inside the transaction that settles the attempt.
        """
        claim = self.claim
        if self.fault is not None:
            self._opened = await open_circuit(
                claim.service_id, claim.service_version, self.fault, self.moment, self.policy, probing=claim.probing
            )
        elif claim.probing and self.reached:
            self._open_since = await close_circuit(claim.service_id, claim.service_version)
            if self._open_since is not None:
                await forgive_outage(claim.service_id, self._open_since, self.moment)

    def log(self) -> None:
        """Say what changed, once it is committed."""
        if self._opened and self.fault is not None:
            logger.warning("service %s: circuit open, its mail waits. %s", self._service, self.fault.reason)
        if self._open_since is not None:
            seconds = (self.moment - self._open_since).total_seconds()
            logger.info("service %s: circuit closed after %.0f s", self._service, seconds)

    @property
    def _service(self) -> str:
        return public_id("svc", self.claim.service_id)

"""What a resolver finds in its context: the application's parts, the principal, the loaders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.access.authenticate import authenticate
from app.access.policy import ServiceScope, visible_services
from app.access.principal import Action, Principal
from app.queue.lookup import StoredAttempt, StoredRecipient, list_attempts, list_recipients
from app.services.secret import Sealer
from app.settings import Settings
from app.submission.submit import Submitter
from app.submission.verdict import VerdictWaiter


@dataclass(frozen=True, slots=True)
class Parts:
    """The application's long-lived parts, made once by asgi."""

    settings: Settings
    sealer: Sealer
    submitter: Submitter
    waiter: VerdictWaiter


@dataclass
class Context:
    """One request's. `api_key` is what the client sent, or None; it is checked at first use, and once."""

    parts: Parts
    api_key: str | None = field(repr=False)
    _principal: Principal | None = field(default=None, init=False)

    async def principal(self) -> Principal:
        """Who asks. Raises Unauthenticated, and Forbidden for an inactive role."""
        if self._principal is None:
            interval = self.parts.settings.api_key_use_interval
            self._principal = await authenticate(self.api_key, record_use_every=interval)
        return self._principal

    async def scope(self, action: Action) -> ServiceScope:
        """The services with which the principal may do `action`."""
        return visible_services(await self.principal(), action)

    @cached_property
    def recipients(self) -> DataLoader[UUID, Sequence[StoredRecipient]]:
        """Recipients by the message's key."""

        async def load(keys: list[UUID]) -> list[Sequence[StoredRecipient]]:
            return _in_order(keys, await list_recipients(keys))

        return DataLoader(load_fn=load)

    @cached_property
    def attempts(self) -> DataLoader[UUID, Mapping[UUID, Sequence[StoredAttempt]]]:
        """Attempts of all recipients of a message, by the message's key."""

        async def load(keys: list[UUID]) -> list[Mapping[UUID, Sequence[StoredAttempt]]]:
            found = await list_attempts(keys)
            return [found for _ in keys]

        return DataLoader(load_fn=load)


Info = strawberry.Info[Context, None]


def _in_order(keys: list[UUID], found: Mapping[UUID, Sequence[StoredRecipient]]) -> list[Sequence[StoredRecipient]]:
    return [found.get(key, ()) for key in keys]

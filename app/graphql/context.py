"""What a resolver finds in its context: the application's parts, the principal, the loaders."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.extensions import SchemaExtension

from app.access.authenticate import authenticate
from app.access.offered_key import offered_key
from app.access.policy import ServiceScope, visible_services
from app.access.principal import Action, Principal
from app.access.watch import KeyWatch
from app.clock import now
from app.queue.explain import Way
from app.queue.intervene import Intervener
from app.queue.lookup import StoredAttempt, StoredRecipient, list_attempts, list_recipients
from app.queue.way import read_ways
from app.services.circuit import Circuit, read_circuits
from app.services.diagnose import Diagnoser
from app.services.fallbacks import service_names
from app.services.secret import Sealer
from app.services.usage import Used, read_used
from app.settings import Settings
from app.submission.submit import Submitter
from app.submission.verdict import VerdictWaiter
from app.templates.manage import current_versions, no_such_template
from app.templates.models import TemplateVersion


@dataclass(frozen=True, slots=True)
class Parts:
    """The application's long-lived parts, made once by asgi."""

    settings: Settings
    sealer: Sealer
    submitter: Submitter
    waiter: VerdictWaiter
    intervener: Intervener
    diagnoser: Diagnoser
    key_watch: KeyWatch = field(default_factory=KeyWatch)


@dataclass
class Context:
    """One HTTP request's, or one WebSocket's. `api_key` is what the client sent in a header, or None.

    A request checks its key at first use, and only once, whoever of the resolvers that run side by side asks first.
    A socket lives long and asks many things: it may send its key in the payload of connection_init, and nothing is
    remembered from one operation to the next. `carried_out`: the mutations that are committed, by their response key,
    each with the id of what it made or changed. `unseen`: the database could not show that in a payload which says so.
    `origin`: the remote address. `page_origin`: what the client says in its Origin field. `opened_as`: who opened the
    socket.
    """

    parts: Parts
    api_key: str | None = field(repr=False)
    is_socket: bool = False
    origin: str | None = None
    page_origin: str | None = None
    connection_params: dict[str, object] | None = field(default=None, repr=False)
    carried_out: dict[str, str] = field(default_factory=dict, init=False)
    unseen: bool = field(default=False, init=False)
    opened_as: Principal | None = field(default=None, init=False, repr=False)
    _authenticating: "asyncio.Future[Principal] | None" = field(default=None, init=False, repr=False)

    async def principal(self) -> Principal:
        """Who asks. Raises Unauthenticated, and Forbidden for an inactive role, or a page of another origin."""
        if self._authenticating is None or self.is_socket:
            interval = self.parts.settings.api_key_use_interval
            self._authenticating = asyncio.ensure_future(
                authenticate(
                    self._offered(), origin=self.origin, page_origin=self.page_origin, record_use_every=interval
                )
            )
        return await asyncio.shield(self._authenticating)

    def sender(self) -> Awaitable[Principal]:
        """Who asks to send a mail, as `submit` takes it: what this says may be outdated. Raises as `principal`."""
        keys = self.parts.submitter.keys
        return keys.authenticate(self._offered(), origin=self.origin, page_origin=self.page_origin)

    def _offered(self) -> str | None:
        if self.api_key or not self.connection_params:
            return self.api_key or None
        params = self.connection_params.items()
        return offered_key({name.lower(): value for name, value in params if isinstance(value, str)})

    async def scope(self, *actions: Action) -> ServiceScope:
        """The services with which the principal may do any of the actions."""
        return visible_services(await self.principal(), *actions)

    @cached_property
    def recipients(self) -> DataLoader[UUID, Sequence[StoredRecipient]]:
        """Recipients by the message's key."""

        async def load(keys: list[UUID]) -> list[Sequence[StoredRecipient]]:
            found = await list_recipients(list(dict.fromkeys(keys)))
            return [found.get(key, ()) for key in keys]

        return DataLoader(load_fn=load, cache=not self.is_socket)

    @cached_property
    def attempts(self) -> DataLoader[UUID, Mapping[UUID, Sequence[StoredAttempt]]]:
        """Attempts of all recipients of a message, by the message's key."""

        async def load(keys: list[UUID]) -> list[Mapping[UUID, Sequence[StoredAttempt]]]:
            found = await list_attempts(list(dict.fromkeys(keys)))
            return [found for _ in keys]

        return DataLoader(load_fn=load, cache=not self.is_socket)

    @cached_property
    def ways(self) -> DataLoader[UUID, Way]:
        """What keeps unsettled messages back, by the message's key."""

        async def load(keys: list[UUID]) -> list[Way]:
            found = await read_ways(list(dict.fromkeys(keys)), now(), self.parts.settings.worker_lost_after)
            return [found.get(key, Way()) for key in keys]

        return DataLoader(load_fn=load, cache=False)

    @cached_property
    def circuits(self) -> DataLoader[UUID, Circuit | None]:
        """Open circuits by the service's key; read again by each mutation of a request."""

        async def load(keys: list[UUID]) -> list[Circuit | None]:
            found = await read_circuits(list(dict.fromkeys(keys)))
            return [found.get(key) for key in keys]

        return DataLoader(load_fn=load, cache=False)

    @cached_property
    def service_names(self) -> DataLoader[UUID, str | None]:
        """Names of services by their keys; None: there is none any more."""

        async def load(keys: list[UUID]) -> list[str | None]:
            found = await service_names(keys)
            return [found.get(key) for key in keys]

        return DataLoader(load_fn=load, cache=False)

    @cached_property
    def current_versions(self) -> DataLoader[UUID, TemplateVersion]:
        """Current versions of templates, by the template's key; read again by each mutation of a request."""

        async def load(keys: list[UUID]) -> list[TemplateVersion | BaseException]:
            found = await current_versions(set(keys))
            return [found.get(key) or no_such_template() for key in keys]

        return DataLoader(load_fn=load, cache=False)

    @cached_property
    def used(self) -> DataLoader[UUID, Used]:
        """What services have used of their limits, by the service's key."""

        async def load(keys: list[UUID]) -> list[Used]:
            return await read_used(keys, now())

        return DataLoader(load_fn=load, cache=not self.is_socket)


Info = strawberry.Info[Context, None]


def note_carried_out(info: Info, id: str) -> None:
    """Each mutation says so as soon as it is committed: nothing that goes wrong from now on may ask for its repetition.

    `id` is of what it made or changed.
    """
    info.context.carried_out[str(info.path.key)] = id


class ContextPerOperation(SchemaExtension):
    """What one operation of a WebSocket has carried out is nothing to the others."""

    def on_operation(self) -> Iterator[None]:
        """Give the operation a context of its own."""
        context = self.execution_context.context
        if isinstance(context, Context) and context.is_socket:
            self.execution_context.context = replace(context)
        yield

"""Settings in, Starlette application out; opens the database, and may run the worker inside."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan

from app.access.announce import CHANNEL as ACCESS_CHANNEL
from app.access.offered_key import key_among
from app.access.watch import KeyWatch
from app.access.web_origin import offered_origin
from app.database.connection import close_database, open_database
from app.domains.signing import ContentSigner
from app.edge.application import at_the_edge
from app.edge.cors import KNOWN_ORIGIN
from app.edge.doors import Doors
from app.graphql.context import Context, Parts
from app.graphql.cost import OperationLimits
from app.graphql.graphiql import GraphiQL
from app.graphql.request import RequestLimits
from app.graphql.schema import make_schema
from app.graphql.view import GraphQLView
from app.graphql.websocket import SocketLimits
from app.health import health_routes
from app.inbox.page import inbox_routes
from app.indexed import first_fields
from app.queue.announce import listening
from app.queue.choose import choose_engine
from app.queue.intervene import Intervener
from app.queue.wakeup import Wakeup
from app.rest.docs import docs_routes
from app.rest.errors import error_response
from app.rest.routes import rest_endpoint, rest_routes
from app.rest.send import Sender
from app.services.diagnose import Diagnoser
from app.services.secret import sealer_from
from app.settings import Settings, read_settings
from app.submission.submit import Submitter
from app.submission.verdict import VerdictWaiter
from app.worker import Drain, running_worker

SIGNPOST = """\
Heliograph sends email.

/graphql            the GraphQL API; GraphiQL in a browser
/api/v2/{service}   the REST route: POST a mail
/docs               how to: fields, answers, and examples to paste
/openapi.json       the same for programs
/inbox              what sandbox services captured
/health/ready       whether it can take and deliver mail
"""


def make_app(settings: Settings | None = None, *, with_worker: bool = True) -> Starlette:
    """The application. Its lifespan opens the database, which must be migrated, and runs the worker if asked to.

    `app.state.begin_stop()` answers whoever waits for a verdict with what is known, begins no more attempts, and lets
    the seconds run that are left for those under way. Call it where the server begins to stop: ASGI tells the lifespan
    only after the last answer, where it is called once more. Raises SettingsError.
    """
    settings = settings or read_settings()
    sealer = sealer_from(settings)
    wakeup = Wakeup()
    engine = choose_engine(settings, wakeup)
    submitter = Submitter(settings, engine, wakeup, signer=ContentSigner(sealer))
    waiter = VerdictWaiter(wakeup, settings.wait_poll)
    drain = Drain(settings.drain_timeout)
    intervener = Intervener(engine, wakeup, settings.max_schedule_ahead, settings.lease_grace)
    key_watch = KeyWatch(settings.api_key_check_interval)
    parts = Parts(settings, sealer, submitter, waiter, intervener, Diagnoser(settings, sealer), key_watch)

    def begin_stop() -> None:
        drain.begin()
        waiter.stop()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await open_database(settings)
            stack.push_async_callback(close_database)
            await stack.enter_async_context(key_watch.running())
            await stack.enter_async_context(listening(settings, wakeup, {ACCESS_CHANNEL: key_watch.look}))
            if with_worker:
                await stack.enter_async_context(running_worker(settings, sealer, engine, wakeup, drain))
            stack.callback(begin_stop)
            yield

    view, rest = _graphql_view(parts), rest_endpoint(Sender(settings, submitter, waiter))
    routes: list[BaseRoute] = [
        *view.routes(),  # the doors first: each route is asked in turn
        *rest_routes(rest),
        Route("/", _signpost),
        *health_routes(settings),
        *inbox_routes(),
        *docs_routes(settings),
    ]
    app = _Application(settings, routes, lifespan, Doors({"/graphql": view}, rest))
    app.state.begin_stop = begin_stop
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    """No route, or not by this method."""
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, error.detail, headers=error.headers)


class _Application(Starlette):
    """Starlette, and around all of it, its own answers to errors included, what every request passes."""

    def __init__(
        self, settings: Settings, routes: list[BaseRoute], lifespan: Lifespan["_Application"], doors: Doors
    ) -> None:
        super().__init__(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _http_error})
        self._settings = settings
        self._doors = doors

    def build_middleware_stack(self) -> ASGIApp:
        return at_the_edge(self._doors.before(super().build_middleware_stack()), self._settings)


async def _signpost(request: Request) -> PlainTextResponse:
    return PlainTextResponse(SIGNPOST)


def _graphql_view(parts: Parts) -> GraphQLView[Context]:
    settings = parts.settings

    async def make_context(connection: HTTPConnection) -> Context:
        is_socket, client = connection.scope["type"] == "websocket", connection.scope.get("client")
        fields = first_fields(connection.scope)
        page_origin = offered_origin(connection.headers) if b"origin" in fields else None
        return Context(
            parts, key_among(fields), is_socket, client and client[0], page_origin
        )  # by name, it takes twice as long

    async def check_key(context: Context) -> UUID:
        context.opened_as = await context.principal()
        return context.opened_as.api_key_id

    def watch_key(context: Context, close: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        assert context.opened_as is not None, "check_key let it in"
        return parts.key_watch.hold(context.opened_as, close)

    return GraphQLView(
        make_schema(OperationLimits.from_settings(settings), introspection=settings.graphql_introspection),
        make_context,
        on_connect=check_key,
        on_open=watch_key,
        graphiql=_graphiql(settings) if settings.graphiql else None,
        limits=RequestLimits.from_settings(settings),
        socket_limits=SocketLimits.from_settings(settings),
        is_known_origin=lambda scope: bool(scope.get(KNOWN_ORIGIN)),
    )


def _graphiql(settings: Settings) -> GraphiQL:
    return GraphiQL(settings.graphiql_assets, introspection=settings.graphql_introspection)

"""The tiny schema behind the real view, reached in memory over HTTP; the real schema, asked without HTTP."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from app.graphql.context import Parts
from app.graphql.graphiql import GraphiQL
from app.graphql.request import RequestLimits
from app.graphql.view import GraphQLView
from app.graphql.websocket import SocketLimits
from app.queue.embedded import EmbeddedEngine
from app.queue.intervene import Intervener
from app.queue.wakeup import Wakeup
from app.services.diagnose import Diagnoser
from app.services.secret import sealer_from
from app.settings import Settings
from app.submission.submit import Submitter
from app.submission.verdict import VerdictWaiter
from tests.factories import make_key
from tests.graphql.api import Api, real_schema
from tests.graphql.tiny import (
    INIT_TIMEOUT,
    MAX_BODY_BYTES,
    MAX_DOCUMENT_CHARS,
    MAX_JSON_VALUES,
    MAX_OPERATIONS_PER_SOCKET,
    MAX_SOCKETS_PER_KEY,
    MAX_URL_CHARS,
    connect,
    make_context,
    tiny_schema,
)


@pytest.fixture
def tiny_app() -> Starlette:
    limits = RequestLimits(MAX_BODY_BYTES, MAX_URL_CHARS, MAX_JSON_VALUES, MAX_DOCUMENT_CHARS)
    socket_limits = SocketLimits(INIT_TIMEOUT, MAX_OPERATIONS_PER_SOCKET, MAX_SOCKETS_PER_KEY)
    view = GraphQLView(
        tiny_schema(),
        make_context,
        on_connect=connect,
        graphiql=GraphiQL(),
        limits=limits,
        socket_limits=socket_limits,
    )
    return Starlette(routes=view.routes())


@pytest.fixture
async def tiny_client(tiny_app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(tiny_app, raise_app_exceptions=True)
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
        yield client


@pytest.fixture
async def api(sqlite_database: Settings) -> Api:
    """The real schema on a database with one API key, which may do everything."""
    wakeup = Wakeup()
    engine = EmbeddedEngine(wakeup, 1)
    submitter = Submitter(sqlite_database, engine, wakeup)
    intervener = Intervener(engine, wakeup, sqlite_database.max_schedule_ahead)
    sealer = sealer_from(sqlite_database)
    waiter, diagnoser = VerdictWaiter(wakeup, 0.01), Diagnoser(sqlite_database, sealer)
    parts = Parts(sqlite_database, sealer, submitter, waiter, intervener, diagnoser)
    schema = real_schema()
    schema._operations.clear()  # each test is the first to ask
    return Api(schema, parts, await make_key("admin"))

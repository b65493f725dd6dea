"""The tiny schema behind the real view, reached in memory over HTTP."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from app.graphql.graphiql import GraphiQL
from app.graphql.view import GraphQLView
from tests.graphql.tiny import MAX_BODY_BYTES, connect, make_context, tiny_schema


@pytest.fixture
def tiny_app() -> Starlette:
    view = GraphQLView(
        tiny_schema(), make_context, on_connect=connect, graphiql=GraphiQL(), max_body_bytes=MAX_BODY_BYTES
    )
    return Starlette(routes=view.routes())


@pytest.fixture
async def tiny_client(tiny_app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(tiny_app, raise_app_exceptions=True)
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
        yield client

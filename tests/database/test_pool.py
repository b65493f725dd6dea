"""A client opens its database once, whoever asks for it first."""

import asyncio
from typing import Any, cast

from app.database import connection
from app.settings import Settings


async def test_connecting_again_replaces_nothing(database: Settings) -> None:
    client = cast(Any, connection._database().db())
    attribute = "_connection" if connection.dialect() == "sqlite" else "_pool"
    opened = getattr(client, attribute)
    await asyncio.gather(*(client.create_connection(with_db=True) for _ in range(3)))

    assert getattr(client, attribute) is opened
    assert await connection.rows("SELECT 1 AS one") == [{"one": 1}]

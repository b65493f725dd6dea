"""A key that opens nothing any more has no open WebSocket, in whichever process; and nobody can tell why."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.journeys.doors import CREATE_API_KEY, CREATE_ROLE, REVOKE_API_KEY, ROTATE_API_KEY, UPDATE_API_KEY, Doors
from tests.journeys.fleet import launched
from tests.journeys.installation import installation
from tests.journeys.program import ADMIN_KEY, Heliograph

MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
PATIENCE = 20
TOLD_ONLY = 3600
"""A check interval so long that a process has to be told."""


@asynccontextmanager
async def opened(doors: Doors, key: str, **headers: str) -> AsyncIterator[ClientConnection]:
    """A WebSocket whose client has said who it is."""
    url = f"{str(doors.http.base_url).replace('http', 'ws', 1).rstrip('/')}/graphql"
    protocol: Any = ["graphql-transport-ws"]
    async with connect(url, subprotocols=protocol, additional_headers=headers, proxy=None) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": {"X-API-Key": key}}))
        yield socket


async def acknowledged(socket: ClientConnection) -> None:
    assert json.loads(await socket.recv()) == {"type": "connection_ack"}


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    """How the server closes it."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(PATIENCE):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason


async def make_key(admin: Doors, **given: Any) -> tuple[str, str]:
    """The id and the secret of a key that may send."""
    role = (await admin.graphql.change(CREATE_ROLE, name="shop", grants=[{"actions": ["SEND"]}]))["role"]
    made = await admin.graphql.change(CREATE_API_KEY, roleId=role["id"], name="web", **given)
    return made["apiKey"]["id"], made["key"]


async def test_a_key_revoked_at_one_process_closes_its_sockets_at_another(tmp_path: Path, postgres_url: str) -> None:
    installed = installation(tmp_path, postgres_url, api_key_check_interval=TOLD_ONLY)
    async with launched(installed, apis=2, workers=0, alone=False) as fleet:
        here, there = [await fleet.doors() for _ in range(2)]
        key_id, old = await make_key(here)
        new = (await here.graphql.change(ROTATE_API_KEY, id=key_id))["key"]
        async with opened(there, old) as first, opened(there, new) as second, opened(there, ADMIN_KEY) as other:
            for socket in (first, second, other):
                await acknowledged(socket)
            await here.graphql.change(ROTATE_API_KEY, id=key_id, overlapSeconds=0)
            assert await closed(first) == (4403, "Forbidden")
            assert await closed(second) == (4403, "Forbidden")
            await other.send(json.dumps({"type": "ping"}))
            assert json.loads(await other.recv()) == {"type": "pong"}
        assert (await there.with_key(new).rest.send("email", MAIL)).status_code == 401


async def test_on_sqlite_a_key_revoked_at_the_machine_closes_its_sockets(heliograph: Heliograph) -> None:
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        key_id, key = await make_key(server.doors)
        async with opened(server.doors, key) as socket:
            await acknowledged(socket)
            assert (await heliograph.run("key", "revoke", key_id)).status == 0
            assert await closed(socket) == (4403, "Forbidden")


async def test_nobody_can_tell_why_a_key_opens_nothing(heliograph: Heliograph) -> None:
    installed = heliograph.having(admin_api_key=ADMIN_KEY, trusted_proxies="127.0.0.1/32", log_format="json")
    inside, outside = {"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "198.51.100.1"}
    async with installed.serving() as server:
        key_id, key = await make_key(server.doors, allowedNetworks=["192.0.2.0/24"])
        by_rest = await server.doors.with_key(key).rest.send("email", MAIL, X_Forwarded_For="192.0.2.7")
        assert by_rest.status_code == 200
        async with opened(server.doors, key, **inside) as socket:
            await acknowledged(socket)
            answers = [
                await answers_to(server.doors, "hg_unknown", inside),
                await answers_to(server.doors, key, outside),
            ]
            elsewhere = [line for line in map(json.loads, server.errors.splitlines()) if "reason" in line]
            await server.doors.graphql.change(UPDATE_API_KEY, id=key_id, allowedNetworks=["198.51.100.0/24"])
            assert await closed(socket) == (4403, "Forbidden")
        answers.append(await answers_to(server.doors, key, inside))
        await server.doors.graphql.change(REVOKE_API_KEY, id=key_id)
        answers.append(await answers_to(server.doors, key, outside))
        assert answers == [answers[0]] * 4
        assert answers[0][0] == 401
        told = {(line["refused_key_id"], line["origin"]) for line in elsewhere}
        assert told == {("-", "192.0.2.7"), (key_id, "198.51.100.1")}
        assert key not in server.errors


async def answers_to(doors: Doors, key: str, origin: Mapping[str, str]) -> list[Any]:
    """Everything that who shows this key, from there, can see of it: REST, GraphQL, and WebSocket."""
    headers = {"X-API-Key": key, **origin}
    rest = await doors.http.post("/api/v2/email", json=MAIL, headers=headers)
    graphql = await doors.http.post("/graphql", json={"query": "{ viewer { roleName } }"}, headers=headers)
    seen: list[Any] = []
    for answer in (rest, graphql):
        shown = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
        seen += [answer.status_code, shown, answer.content]
    async with opened(doors, key, **origin) as socket:
        return [*seen, await closed(socket)]

"""A service that does not work, and then does, asked about by GraphQL, over a WebSocket, and at the machine."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from app.inbox.receiver import Hang, Receiver, Script, Stage
from tests.journeys.doors import Doors
from tests.journeys.program import ADMIN_KEY, Heliograph

USERNAME, PASSWORD = "me@x.example", "canary-password-5d1f"
ENCODED = b64encode(f"\0{USERNAME}\0{PASSWORD}".encode()).decode()
FOLLOW = "subscription ($id: ID!) { serviceDiagnosis(id: $id) { name status } }"
DIAGNOSE = """
  mutation ($input: DiagnoseServiceInput!) {
    done: diagnoseService(input: $input) {
      diagnosis { ok advice stages { name code evidence } }
      userErrors { code field message retryable }
    }
  }
"""
TEST = """
  mutation ($input: SendTestEmailInput!) {
    done: sendTestEmail(input: $input) {
      message { state subject messageIdHeader }
      said
      userErrors { code field message retryable }
    }
  }
"""


@asynccontextmanager
async def opened(doors: Doors) -> AsyncIterator[ClientConnection]:
    url = f"{str(doors.http.base_url).replace('http', 'ws', 1).rstrip('/')}/graphql"
    protocol: Any = ["graphql-transport-ws"]
    async with connect(url, subprotocols=protocol, proxy=None) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": {"X-API-Key": ADMIN_KEY}}))
        assert json.loads(await socket.recv()) == {"type": "connection_ack"}
        yield socket


async def subscribe(socket: ClientConnection, name: str, key: str) -> None:
    payload = {"query": FOLLOW, "variables": {"id": key}}
    await socket.send(json.dumps({"type": "subscribe", "id": name, "payload": payload}))


async def followed(socket: ClientConnection, most: int | None = None) -> list[str]:
    """The stages that come, up to so many; or the code of the error instead."""
    told: list[str] = []
    while len(told) != most and (message := json.loads(await socket.recv()))["type"] != "complete":
        data, errors = message["payload"].get("data"), message["payload"].get("errors", ())
        told += [error["extensions"]["code"] for error in errors] or [data["serviceDiagnosis"]["name"]]
    return told


async def test_what_is_wrong_is_told_at_every_door_and_no_credential_with_it(heliograph: Heliograph) -> None:
    script = Script().on(Stage.AUTH, f"535 5.7.8 no: AUTH PLAIN {ENCODED}", times=1)
    async with (
        Receiver(keep=True, credentials={USERNAME: PASSWORD}, script=script) as receiver,
        heliograph.having(admin_api_key=ADMIN_KEY, circuit_auth_interval=0.5).serving() as server,
        asyncio.timeout(60),
    ):
        doors = server.doors
        made = await doors.graphql.create_service(
            "relay", port=receiver.port, username=USERNAME, password=PASSWORD, fromEmail=USERNAME
        )
        ill = (await doors.graphql.change(DIAGNOSE, id=made["id"]))["diagnosis"]
        assert (ill["ok"], ill["stages"][-2]["code"]) == (False, "BAD_CREDENTIALS")
        assert ill["stages"][-2]["evidence"] == "535 5.7.8 no: AUTH PLAIN …"
        assert "set both again" in ill["advice"]

        told = await heliograph.run("diagnose", "relay", "--to", "b@x.example")
        while "AUTH_TOO_SOON" in told.output:
            told = await heliograph.run("diagnose", "relay", "--to", "b@x.example")
        assert told.status == 0, told
        assert [line.split()[:2] for line in told.output.splitlines()][-1] == ["OK", "ENVELOPE"]

        tested = await doors.graphql.change(TEST, service="relay", to="b@x.example")
        (mail,) = await receiver.wait_for(1)
        assert (tested["said"], tested["message"]["state"]) == ("250 2.0.0 Taken", "SENT")
        text = mail.content.decode()
        for named in ("the service relay", f"127.0.0.1, port {receiver.port}", tested["message"]["messageIdHeader"]):
            assert named in text

        answers = json.dumps([ill, tested]) + told.output + told.errors + server.errors
        assert PASSWORD not in answers
        assert ENCODED not in answers


async def test_each_stage_comes_over_a_websocket_as_it_ends_and_unsubscribing_ends_it(heliograph: Heliograph) -> None:
    script = Script().on(Stage.EHLO, Hang(), times=1)
    async with (
        Receiver(keep=True, script=script) as receiver,
        heliograph.having(admin_api_key=ADMIN_KEY).serving() as server,
        opened(server.doors) as socket,
        asyncio.timeout(60),
    ):
        key = (await server.doors.graphql.create_service("relay", port=receiver.port))["id"]
        await subscribe(socket, "1", key)
        assert await followed(socket, 3) == ["DNS", "TCP", "GREETING"]
        await subscribe(socket, "2", key)
        assert await followed(socket) == ["WRONG_STATE"]
        await socket.send(json.dumps({"type": "complete", "id": "1"}))
        stages = ["WRONG_STATE"]
        while stages == ["WRONG_STATE"]:  # until the first one has ended
            await subscribe(socket, "3", key)
            stages = await followed(socket)
        assert stages[:3] == ["DNS", "TCP", "GREETING"]
        assert stages[-1] == "ENVELOPE"
        told = await heliograph.run("diagnose", "nobody")
        assert (told.status, told.errors) == (1, "heliograph: there is no service named 'nobody'\n")

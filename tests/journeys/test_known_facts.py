"""Keys, roles and services are in a server's memory, and changed by another process: its next request knows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.journeys.doors import (
    CREATE_API_KEY,
    CREATE_ROLE,
    CREATE_SERVICE,
    DELETE_SERVICE,
    REVOKE_API_KEY,
    ROTATE_API_KEY,
    SEND_EMAIL,
    UPDATE_API_KEY,
    UPDATE_SERVICE,
    Doors,
    error_of,
)
from tests.journeys.fleet import launched
from tests.journeys.installation import installation
from tests.journeys.program import ADMIN_KEY, Heliograph

UPDATE_ROLE = "mutation ($input: UpdateRoleInput!) { done: updateRole(input: $input) { userErrors { message } } }"
SEND: list[dict[str, object]] = [{"actions": ["SEND"]}]


@dataclass(frozen=True)
class Sender:
    """A role, its key, and the doors of the server that knows both."""

    doors: Doors
    role_id: str
    key_id: str

    async def answers(self, *, broken: bool = False) -> list[str]:
        """What either door says to a mail: "yes", or its first code. `broken`: to one that is none."""
        to = [{"email": "a@x.example"}]
        given = {"service": "relay", "to": to, "text": "Hello."} | ({"waitSeconds": -1} if broken else {})
        response = await self.doors.graphql.post(SEND_EMAIL, input=given)
        body = {"to": "a@x.example", "body_text": "Hello."} if not broken else {"to": 1}
        rest = await self.doors.rest.send("relay", body, Prefer="respond-async")
        return [_first_code(response.json()), "yes" if rest.status_code == 202 else str(error_of(rest)["status_code"])]


def _first_code(body: Any) -> str:
    if body.get("errors"):
        return str(body["errors"][0]["extensions"]["code"])
    return next((str(error["code"]) for error in body["data"]["done"]["userErrors"]), "yes")


async def _made(admin: Doors, there: Doors) -> Sender:
    role = (await admin.graphql.change(CREATE_ROLE, name="shop", grants=SEND))["role"]
    made = await admin.graphql.change(CREATE_API_KEY, roleId=role["id"], name="web")
    return Sender(there.with_key(made["key"]), role["id"], made["apiKey"]["id"])


async def test_what_one_process_changes_the_next_request_at_another_knows(tmp_path: Path, postgres_url: str) -> None:
    installed = installation(tmp_path, postgres_url, api_key_check_interval=3600)
    async with launched(installed, apis=2, workers=0, alone=False) as fleet:
        here, there = [await fleet.doors() for _ in range(2)]
        service = await here.graphql.create_service("relay", kind="SANDBOX", host=None)
        sender = await _made(here, there)
        assert await sender.answers() == ["yes", "yes"]
        assert await sender.answers(broken=True) == ["INVALID_INPUT", "400"]

        async def changed(mutation: str, **given: Any) -> Sequence[str]:
            payload = await here.graphql.change(mutation, **given)
            if payload.get("key"):
                return [payload["key"]]
            return await sender.answers()

        role, own = {"id": sender.role_id}, {"id": service["id"]}
        assert await changed(UPDATE_ROLE, **role, grants=[]) == ["FORBIDDEN", "403"]
        assert await changed(UPDATE_ROLE, **role, grants=SEND) == ["yes", "yes"]
        assert await changed(UPDATE_ROLE, **role, limits={"perMinute": 2}) == ["yes", "yes"]
        assert await changed(UPDATE_ROLE, **role, limits={"perMinute": 1}) == ["RATE_LIMITED", "429"]
        assert await changed(UPDATE_ROLE, **role, limits=None) == ["yes", "yes"]
        assert await changed(UPDATE_ROLE, **role, isActive=False) == ["ROLE_INACTIVE", "403"]
        assert await changed(UPDATE_ROLE, **role, isActive=True) == ["yes", "yes"]
        assert await changed(UPDATE_SERVICE, **own, isActive=False) == ["SERVICE_INACTIVE", "403"]
        assert await changed(UPDATE_SERVICE, **own, isActive=True) == ["yes", "yes"]
        assert await changed(UPDATE_SERVICE, **own, name="other") == ["SERVICE_NOT_FOUND", "404"]
        assert await changed(UPDATE_SERVICE, **own, name="relay") == ["yes", "yes"]
        assert await changed(DELETE_SERVICE, **own, cancelUnsent=True) == ["SERVICE_NOT_FOUND", "404"]
        given = {"name": "relay", "kind": "SANDBOX", "encryption": "NONE", "fromEmail": "me@sender.example"}
        assert await changed(CREATE_SERVICE, **given) == ["yes", "yes"]
        assert await changed(UPDATE_API_KEY, id=sender.key_id, allowedNetworks=["192.0.2.0/24"]) == _NO_KEY
        assert await changed(UPDATE_API_KEY, id=sender.key_id, allowedNetworks=[]) == ["yes", "yes"]
        (new,) = await changed(ROTATE_API_KEY, id=sender.key_id, overlapSeconds=0)
        assert await sender.answers() == _NO_KEY
        sender = replace(sender, doors=there.with_key(new))
        assert await sender.answers() == ["yes", "yes"]
        assert await sender.answers(broken=True) == ["INVALID_INPUT", "400"]
        await here.graphql.change(REVOKE_API_KEY, id=sender.key_id)
        assert await sender.answers(broken=True) == _NO_KEY
        assert await sender.answers() == _NO_KEY


_NO_KEY = ["INVALID_API_KEY", "401"]


async def test_on_sqlite_the_next_request_knows_what_was_revoked_at_the_machine(heliograph: Heliograph) -> None:
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        await server.doors.graphql.create_service("relay", kind="SANDBOX", host=None)
        sender = await _made(server.doors, server.doors)
        assert await sender.answers() == ["yes", "yes"]
        assert (await heliograph.run("key", "revoke", sender.key_id)).status == 0
        assert await sender.answers() == _NO_KEY

"""Where the rows of the contract are tried out: programs that serve, started once for all rows that ask for them."""

import asyncio
import shutil
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.journeys.contract_errors import LIMITS
from tests.journeys.contract_templates import TEMPLATES
from tests.journeys.doors import CREATE_API_KEY, CREATE_ROLE, CREATE_TEMPLATE, REVOKE_API_KEY, Doors, Refused
from tests.journeys.program import ADMIN_KEY, PATIENCE, Heliograph, Server

SEND_ALL = {"actions": ["SEND"]}
ENVIRONMENT = {"MAIL_FROM_ADDRESS": "env@sender.example", "MAIL_FROM_NAME": "The Environment"}
INSTALLATIONS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "plain": (LIMITS, {}),
    "hasty": ({"verdict_wait": 0.3}, {}),
    "environment": ({"smtp_connect_timeout": 1}, ENVIRONMENT),
}


@dataclass(frozen=True)
class Room:
    """A program that serves, and API keys of every kind by their names."""

    server: Server
    keys: dict[str, str]

    @property
    def doors(self) -> Doors:
        """Its doors."""
        return self.server.doors


class Rooms:
    """The installations, each started when the first row asks for it."""

    def __init__(self, folder: Path, template: Path, ca_file: Path) -> None:
        self._folder, self._template, self._ca_file = folder, template, ca_file
        self._rooms: dict[str, Room] = {}
        self._running = AsyncExitStack()

    async def room(self, name: str) -> Room:
        """The room of the installation with this name."""
        if name not in self._rooms:
            self._rooms[name] = await self._opened(name)
        return self._rooms[name]

    def logs(self) -> str:
        """Everything that all of them have said so far."""
        return "".join(room.server.output + room.server.errors for room in self._rooms.values())

    async def close(self) -> None:
        """Kill whatever runs."""
        await self._running.aclose()

    async def _opened(self, name: str) -> Room:
        folder = self._folder / name
        folder.mkdir()
        shutil.copyfile(self._template, folder / "heliograph.db")
        settings, variables = INSTALLATIONS[name]
        quick = {"queue_poll": 0.05, "wait_poll": 0.05, "retry_schedule": 0.2, "retry_jitter": 0}
        own = {"env_file": "no.env", "port": 0, "admin_api_key": ADMIN_KEY, "trusted_ca_file": self._ca_file}
        installed = Heliograph(folder, dict(variables)).having(**own | quick | settings)
        server = await self._running.enter_async_context(installed.serving())
        for template in TEMPLATES:
            await server.doors.graphql.change(CREATE_TEMPLATE, **template)
        return Room(server, await _made_keys(server.doors))


async def _made_keys(doors: Doors) -> dict[str, str]:
    await doors.graphql.create_service("other", fromEmail=None)
    grants: dict[str, dict[str, Any]] = {
        "sender": SEND_ALL,
        "reader": {"actions": ["READ_MESSAGES"]},
        "elsewhere": SEND_ALL | {"service": "other"},
        "limited": SEND_ALL | {"limits": {"perHour": 2}},
    }
    keys = {name: await doors.graphql.create_key(grant, role=name) for name, grant in grants.items()}
    keys |= {"admin": ADMIN_KEY, "unknown": "hg_" + "0" * 43}
    role = (await doors.graphql.change(CREATE_ROLE, name="inactive", isActive=False, grants=[SEND_ALL]))["role"]
    keys["inactive"] = (await doors.graphql.change(CREATE_API_KEY, roleId=role["id"], name="inactive"))["key"]
    return keys | {"revoked": await _revoked(doors), "expired": await _expired(doors)}


async def _revoked(doors: Doors) -> str:
    role = (await doors.graphql.change(CREATE_ROLE, name="revoked", grants=[SEND_ALL]))["role"]
    made = await doors.graphql.change(CREATE_API_KEY, roleId=role["id"], name="revoked")
    await doors.graphql.change(REVOKE_API_KEY, id=made["apiKey"]["id"])
    key: str = made["key"]
    return key


async def _expired(doors: Doors) -> str:
    role = (await doors.graphql.change(CREATE_ROLE, name="expired", grants=[SEND_ALL]))["role"]
    lifetime, made = timedelta(seconds=0.5), None
    while made is None:
        given = {"name": "expired", "expiresAt": (datetime.now(UTC) + lifetime).isoformat()}
        try:
            made = await doors.graphql.change(CREATE_API_KEY, roleId=role["id"], **given)
        except Refused:  # it had expired before it was made
            lifetime *= 2
    key: str = made["key"]
    async with asyncio.timeout(PATIENCE):
        while (await doors.with_key(key).rest.send("other", {})).status_code != 401:  # noqa: ASYNC110 - time is another process's
            await asyncio.sleep(0.05)
    return key


@contextmanager
def firewalled() -> Iterator[int]:
    """A port that answers no attempt to connect: its queue of connections is full, and nobody takes them."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = listening.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(address)
        yield address[1]
        for client in waiting:
            client.close()

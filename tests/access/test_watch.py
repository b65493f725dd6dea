"""What is open with a key is closed as soon as the key opens nothing; on both databases."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import pytest

from app.access.api_keys import create_api_key, revoke_api_key, update_api_key
from app.access.authenticate import authenticate
from app.access.check import RoleValues
from app.access.manage import create_role, delete_role, update_role
from app.access.models import ApiKey
from app.access.rotate import rotate_api_key
from app.access.watch import KeyWatch
from app.clock import now
from app.database import connection

pytestmark = pytest.mark.usefixtures("database")

NEVER = 3600.0
PATIENCE = 20


class Socket:
    """What is open, until somebody closes it."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def close(self) -> None:
        self.closed.set()

    async def is_closed(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.closed.wait()


async def make_key(name: str) -> tuple[ApiKey, str]:
    role = await create_role(RoleValues(name), None)
    return await create_api_key(role.id, name, None, None)


async def opened(watch: KeyWatch, text: str, origin: str = "192.0.2.7") -> Socket:
    socket = Socket()
    watch.hold(await authenticate(text, origin=origin), socket.close)
    return socket


async def revoked(key: ApiKey) -> None:
    await revoke_api_key(key.id, None)


async def without_role(key: ApiKey) -> None:
    await delete_role(key.role_id, None)


async def of_an_inactive_role(key: ApiKey) -> None:
    await update_role(key.role_id, {"is_active": False}, None)


async def from_elsewhere(key: ApiKey) -> None:
    await update_api_key(key.id, {"allowed_networks": ["198.51.100.0/24"]}, None)


async def replaced(key: ApiKey) -> None:
    await rotate_api_key(key.id, 0, None)


CHANGES: Mapping[str, Callable[[ApiKey], Awaitable[None]]] = {
    "revoked": revoked,
    "without its role": without_role,
    "of an inactive role": of_an_inactive_role,
    "from elsewhere": from_elsewhere,
    "replaced": replaced,
}


@pytest.mark.parametrize("told", [True, False], ids=["told", "by looking"])
async def test_every_change_that_ends_a_key_closes_what_is_open_with_it_and_nothing_else(told: bool) -> None:
    watch = KeyWatch(NEVER if told else 0.02)
    spared, text = await make_key("spared")
    async with watch.running():
        other = await opened(watch, text)
        for name, change in CHANGES.items():
            key, text = await make_key(name)
            socket = await opened(watch, text)
            await change(key)
            if told:
                watch.look()
            await socket.is_closed()
        assert not other.closed.is_set()
        await revoked(spared)
        watch.look()
        await other.is_closed()


async def test_what_ends_by_its_time_is_closed_then_without_anybody_looking() -> None:
    watch, soon = KeyWatch(NEVER), timedelta(seconds=0.3)
    expiring, text = await make_key("expiring")
    rotated, old = await make_key("rotated")
    sockets = [await opened(watch, secret) for secret in (text, old)]
    _, new = await rotate_api_key(rotated.id, soon.total_seconds(), None)
    await update_api_key(expiring.id, {"expires_at": now() + soon}, None)
    sockets.append(await opened(watch, new))
    async with watch.running():
        await sockets[0].is_closed()
        await sockets[1].is_closed()
        assert not sockets[2].closed.is_set()


async def test_a_socket_whose_client_does_not_listen_keeps_no_other_open() -> None:
    watch = KeyWatch(NEVER)
    key, text = await make_key("shop")
    closing = asyncio.Event()

    async def hang() -> None:
        closing.set()
        await asyncio.Event().wait()

    async with watch.running():
        watch.hold(await authenticate(text), hang)
        socket = await opened(watch, text)
        await revoked(key)
        watch.look()
        await socket.is_closed()
        async with asyncio.timeout(PATIENCE):
            await closing.wait()


async def test_one_query_looks_at_everything_and_none_where_nothing_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    watch = KeyWatch(NEVER)
    _, text = await make_key("shop")

    async def counted(sql: str, *args: object) -> list[dict[str, object]]:
        asked.append(sql)
        return await connection.rows(sql, *args)

    monkeypatch.setattr("app.access.watch.rows", counted)
    async with watch.running():
        watch.look()
        for _ in range(10):
            await asyncio.sleep(0)
        assert asked == []
        principal = await authenticate(text)
        leaves = [watch.hold(principal, Socket().close) for _ in range(50)]
        async with asyncio.timeout(PATIENCE):
            while not asked:  # noqa: ASYNC110 - a query sets no event
                await asyncio.sleep(0.01)
        assert len(asked) == 1
        for leave in leaves:
            leave()
        watch.look()
        for _ in range(10):
            await asyncio.sleep(0)
    assert len(asked) == 1


async def test_trouble_with_the_database_is_told_and_passes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = KeyWatch(0.02)
    key, text = await make_key("shop")
    async with watch.running():
        socket = await opened(watch, text)
        with monkeypatch.context() as trouble:

            async def down(sql: str, *args: object) -> list[dict[str, object]]:
                raise ConnectionRefusedError

            trouble.setattr("app.access.watch.rows", down)
            await revoked(key)
            async with asyncio.timeout(PATIENCE):
                while "cannot be looked up" not in caplog.text:  # noqa: ASYNC110 - nor does a line of the log
                    await asyncio.sleep(0.01)
        await socket.is_closed()

"""Which errors are worth another try: real ones, provoked."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from tortoise.exceptions import IntegrityError, OperationalError

from app.clock import now
from app.database.connection import (
    _plain_client,
    close_database,
    execute,
    is_transient,
    open_database,
    rows,
    transaction,
)
from app.database.key import new_key
from app.settings import Settings

INSERT = "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, 'host', $2, $3, $3)"


async def test_what_is_wrong_with_a_statement_stays_wrong(database: Settings) -> None:
    with pytest.raises(OperationalError) as missing:
        await rows("SELECT nothing FROM nowhere")
    with pytest.raises(IntegrityError) as null:
        await execute("INSERT INTO worker (id) VALUES ($1)", new_key())
    assert not is_transient(missing.value)
    assert not is_transient(null.value)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), True),
        (OSError(errno.ENOSPC, "disk full"), True),
        (FileNotFoundError(errno.ENOENT, "no socket"), True),
        (FileNotFoundError(errno.ENOENT, "no file", "ca.pem"), False),
        (PermissionError(errno.EACCES, "denied"), False),
        (ValueError("closed"), False),
        (asyncio.CancelledError(), False),
    ],
    ids=repr,
)
def test_errors_of_the_system_are_told_apart(error: BaseException, transient: bool) -> None:
    assert is_transient(error) is transient


def test_a_connection_out_of_step_is_on_its_way_out() -> None:
    asyncpg = pytest.importorskip("asyncpg")
    error = asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
    assert is_transient(error)
    assert not is_transient(asyncpg.UndefinedTableError("no such table"))


async def test_a_full_disk_may_get_room_again(sqlite_database: Settings) -> None:
    (page_count,) = (await rows("PRAGMA page_count"))[0].values()
    await rows(f"PRAGMA max_page_count = {page_count}")
    with pytest.raises(OperationalError, match="full") as caught:
        await execute(
            "INSERT INTO worker (id, hostname, pid, started_at, beat_at) VALUES ($1, $2, 1, $3, $3)",
            *(new_key(), "h" * 1_000_000, now()),
        )
    assert is_transient(caught.value)
    await rows(f"PRAGMA max_page_count = {page_count + 1000}")
    await execute(INSERT, new_key(), 1, now())


async def test_a_connection_that_is_not_free_in_time_is_worth_another_try(sqlite_settings: Settings) -> None:
    await open_database(sqlite_settings.model_copy(update={"database_busy_timeout": 0.1}))
    try:
        entered, done = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with transaction():
                entered.set()
                await done.wait()

        holder = asyncio.create_task(hold())
        await entered.wait()
        assert await rows("SELECT 1 AS one") == [{"one": 1}], "who reads waits for nobody"
        for work in (execute(INSERT, new_key(), 1, now()), _enter_a_transaction()):
            with pytest.raises(TimeoutError) as caught:
                await work
            assert is_transient(caught.value)
        done.set()
        await holder
        assert await rows("SELECT 1 AS one") == [{"one": 1}]
    finally:
        await close_database()


async def _enter_a_transaction() -> None:
    async with transaction():
        pass


async def test_a_server_that_is_not_there_may_come(unused_url: str) -> None:
    with pytest.raises(OSError, match=r"refused|Connect call failed") as caught:
        await open_database(Settings(database_url=unused_url))
    assert is_transient(caught.value)


@pytest.fixture
def unused_url(clean_environment: None) -> Iterator[str]:
    """Of a port that nobody else is given, and at which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"postgres://nobody@127.0.0.1:{reserved.getsockname()[1]}/nothing"


async def test_a_lost_connection_is_worth_another_try_and_is_replaced(postgres_settings: Settings) -> None:
    with pytest.raises(Exception, match=r"terminating connection|closed") as caught:
        await _lose_the_connection()
    assert is_transient(caught.value)
    await execute(INSERT, new_key(), 2, now())
    assert await rows("SELECT pid FROM worker") == [{"pid": 2}]


async def _lose_the_connection() -> None:
    async with transaction():
        await execute(INSERT, new_key(), 1, now())
        await rows("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_waiting_too_long_for_a_lock_is_worth_another_try(postgres_settings: Settings) -> None:
    await execute(INSERT, new_key(), 1, now())
    locked = asyncio.Event()

    async def hold() -> None:
        async with transaction():
            await execute("UPDATE worker SET pid = 2")
            locked.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await locked.wait()
    with pytest.raises(Exception, match="lock timeout") as caught:
        await _find_it_locked()
    assert is_transient(caught.value)
    holder.cancel()
    await asyncio.wait({holder})
    assert await execute("UPDATE worker SET pid = 3") == 1


async def _find_it_locked() -> None:
    async with transaction():
        assert await rows("SHOW lock_timeout") == [{"lock_timeout": "10s"}], "as database_busy_timeout says"
        await execute("SET LOCAL lock_timeout = 1")
        await execute("UPDATE worker SET pid = 3")


async def test_a_deadlock_is_worth_another_try(postgres_settings: Settings) -> None:
    first, second = new_key(), new_key()
    await execute(INSERT, first, 0, now())
    await execute(INSERT, second, 0, now())
    barrier = asyncio.Barrier(2)

    async def update(*keys: object) -> None:
        async with transaction():
            await execute("SET LOCAL lock_timeout = 0")
            await execute("UPDATE worker SET pid = pid + 1 WHERE id = $1", keys[0])
            await barrier.wait()
            await execute("UPDATE worker SET pid = pid + 1 WHERE id = $1", keys[1])

    outcomes = await asyncio.gather(update(first, second), update(second, first), return_exceptions=True)
    (error,) = [outcome for outcome in outcomes if outcome is not None]
    assert is_transient(error)


async def test_no_free_connection_is_worth_another_try(
    postgres_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()
    all_lent = asyncio.Barrier(postgres_settings.database_pool_size + 1)

    async def hold() -> None:
        async with transaction():
            await all_lent.wait()
            await released.wait()

    holders = [asyncio.create_task(hold()) for _ in range(postgres_settings.database_pool_size)]
    await all_lent.wait()
    with monkeypatch.context() as patched:
        patched.setattr(_plain_client(), "_busy_timeout", 0.01)
        with pytest.raises(TimeoutError) as caught:
            await rows("SELECT 1")
    assert is_transient(caught.value)
    released.set()
    await asyncio.gather(*holders)
    assert await rows("SELECT 1 AS one") == [{"one": 1}]


@pytest.fixture
async def postgres_settings(postgres_url: str, clean_environment: None) -> AsyncIterator[Settings]:
    """An open PostgreSQL database with two connections."""
    settings = Settings(database_url=postgres_url, database_busy_timeout=10, database_pool_size=2)
    await open_database(settings)
    try:
        yield settings
    finally:
        await close_database()

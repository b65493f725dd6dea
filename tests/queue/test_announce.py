"""Other processes learn at once that a message changed, through PostgreSQL."""

import asyncio
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import rows, transaction
from app.database.key import new_key
from app.queue.announce import announce, listening
from app.queue.claim import claim_message
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.settings import Settings
from tests.queue.conftest import Put

LISTENERS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'"  # else it has only begun to
)


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


async def _until_it_listens() -> list[dict[str, int]]:
    async with asyncio.timeout(20):
        while not (found := await rows(LISTENERS)):  # noqa: ASYNC110 - LISTEN sets no event here
            await asyncio.sleep(0.02)
    return found


async def test_settling_a_message_wakes_who_waits_for_it_in_another_process(put_mail: Put, database: Settings) -> None:
    message_id, in_another_process = await put_mail(), Wakeup()
    async with listening(database, in_another_process):
        await _until_it_listens()
        with in_another_process.watching(message_id) as changed:
            claim = await claim_message(new_key(), message_id, now(), 60)
            assert claim is not None
            sent = [Settlement(r.id, r.number, RecipientState.SENT) for r in claim.recipients]
            assert await settle(claim, lambda _: sent, now(), now())
            async with asyncio.timeout(20):
                await changed.wait()


async def test_what_is_rolled_back_is_not_announced(database: Settings) -> None:
    wakeup, rolled_back, committed = Wakeup(), UUID(int=1), UUID(int=2)
    async with listening(database, wakeup):
        await _until_it_listens()
        with wakeup.watching(rolled_back) as never, wakeup.watching(committed) as changed:
            with pytest.raises(Undone):
                await _announce_and_undo(rolled_back)
            await announce(committed)
            async with asyncio.timeout(20):
                await changed.wait()
            assert not never.is_set()


class Undone(Exception):
    """Ends a transaction without a commit."""


async def _announce_and_undo(message_id: UUID) -> None:
    async with transaction():
        await announce(message_id)
        raise Undone


async def test_a_listener_that_lost_its_connection_listens_again(database: Settings) -> None:
    wakeup, message_id = Wakeup(), new_key()
    async with listening(database.model_copy(update={"wait_poll": 0.02}), wakeup):
        [listener] = await _until_it_listens()
        await rows("SELECT pg_terminate_backend($1)", listener["pid"])
        async with asyncio.timeout(20):
            while await rows(LISTENERS) in ([], [listener]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        with wakeup.watching(message_id) as changed:
            await announce(message_id)
            async with asyncio.timeout(20):
                await changed.wait()


async def test_on_sqlite_there_is_nothing_to_hear(sqlite_database: Settings) -> None:
    async with listening(sqlite_database, Wakeup()):
        await announce(new_key())

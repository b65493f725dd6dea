"""A result that comes late: nothing is lost while the lease is kept, nothing is overwritten once it is another's."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import execute
from app.delivery.attempt import Attempter
from app.delivery.uptime import Uptime
from app.inbox.receiver import Receiver, Script, Stage, Wait
from app.queue.lookup import list_attempts
from app.queue.settle import settle
from app.queue.settle_together import FinalResults
from tests.delivery.conftest import NEVER, MakeAttempter, Put, WritesRefused, logged, said, taken_over, until
from tests.factories import count, message_row, recipient_states


async def test_a_result_that_no_statement_takes_is_kept_until_one_does(
    put_mail: Put, attempter: Attempter, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0

    async def stubborn(*args: Any, **options: Any) -> bool:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise ZeroDivisionError
        return await settle(*args, **options)

    async def alone(*_: Any) -> bool:
        return False

    monkeypatch.setattr("app.delivery.settling.settle", stubborn)
    monkeypatch.setattr(FinalResults, "write", alone)
    message_id = await put_mail()
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["sent"]
    assert (len(receiver.mails), refused) == (1, 2)


async def test_a_result_that_comes_after_the_lease_was_lost_is_discarded(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    other = await taken_over(message_id)
    answer.set()
    await attempting

    assert "result discarded, the lease was lost" in caplog.text
    row = await message_row(message_id)
    assert (row["state"], row["fence"]) == ("sending", other.fence)
    assert [a.outcome for found in (await list_attempts([message_id])).values() for a in found] == ["queued"]


async def test_after_an_outage_longer_than_the_lease_who_knows_the_result_goes_first(
    put_mail: Put, attempter: Attempter, make_attempter: MakeAttempter, receiver: Receiver, script: Script
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    ended = now() - timedelta(seconds=1)
    await execute("UPDATE message SET lease_until = $2, due_at = $2 WHERE id = $1", message_id, ended)
    await make_attempter(uptime=Uptime(NEVER)).attempt(message_id)
    answer.set()
    await attempting

    assert await recipient_states(message_id) == ["sent"]
    assert (len(receiver.mails), (await message_row(message_id))["fence"]) == (1, 1)


async def test_the_lease_is_renewed_for_as_long_as_it_takes(
    put_mail: Put, make_attempter: MakeAttempter, receiver: Receiver, script: Script
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(make_attempter(renewal=0.01).attempt(message_id))
    await said(receiver, "DATA")
    first = (await message_row(message_id))["lease_until"]
    await until(lambda: _lease_is_later(message_id, first))
    answer.set()
    await attempting

    assert await recipient_states(message_id) == ["sent"]


async def test_the_lease_is_renewed_again_after_database_trouble(
    put_mail: Put,
    make_attempter: MakeAttempter,
    receiver: Receiver,
    script: Script,
    writes_refused: WritesRefused,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(make_attempter(renewal=0.01).attempt(message_id))
    await said(receiver, "DATA")
    async with writes_refused():
        await logged(caplog, "lease not renewed")
    before = (await message_row(message_id))["lease_until"]
    await until(lambda: _lease_is_later(message_id, before))
    answer.set()
    await attempting

    assert await recipient_states(message_id) == ["sent"]


async def test_a_result_is_written_once_the_database_lets_it(
    put_mail: Put,
    attempter: Attempter,
    receiver: Receiver,
    script: Script,
    writes_refused: WritesRefused,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    async with writes_refused():
        answer.set()
        await logged(caplog, "not written yet")
    await attempting

    assert await recipient_states(message_id) == ["sent"]
    assert (len(receiver.mails), await count("attempt")) == (1, 1)


async def _lease_is_later(message_id: UUID, than: object) -> bool:
    return bool((await message_row(message_id))["lease_until"] > than)

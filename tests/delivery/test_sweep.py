"""A dead worker's attempt ends though nobody may claim its mail, and only a dead worker's does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.clock import now
from app.database.connection import close_database, execute, open_database, rows, transaction
from app.database.key import new_key
from app.delivery.sweep import run_sweep, sweep
from app.delivery.uptime import Uptime
from app.queue.claim import Claim, begin_dot, claim_message
from app.queue.doubt import OnDoubt
from app.queue.pause import pause_service
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.services.circuit import CircuitPolicy, Fault, open_circuit
from app.services.models import Service
from app.settings import Settings
from tests.delivery.conftest import Put
from tests.factories import message_row, recipient_states

LASTING = Uptime(0)
Shut = Callable[[Service], Awaitable[None]]


async def claimed(put_mail: Put, lease: float = 0, **fields: Any) -> Claim:
    """By a worker that dies with it; by default its lease ends at once."""
    claim = await claim_message(new_key(), await put_mail(**fields), now(), lease)
    assert claim is not None
    return claim


async def pause(service: Service) -> None:
    await pause_service(service.id, "maintenance", None, now(), max_reason_chars=100)


async def inactivate(service: Service) -> None:
    await execute("UPDATE service SET is_active = $1 WHERE id = $2", False, service.id)


async def break_circuit(service: Service) -> None:
    async with transaction():
        fault, policy = Fault("Connection refused."), CircuitPolicy(3600, 3600)
        assert await open_circuit(service.id, service.version, fault, now(), policy, probing=False)


@pytest.mark.parametrize("shut", [pause, inactivate, break_circuit])
async def test_the_mail_of_a_shut_service_does_not_stay_with_its_dead_worker(
    service: Service, put_mail: Put, wakeup: Wakeup, shut: Shut
) -> None:
    claim = await claimed(put_mail)
    await shut(service)
    with wakeup.watching(claim.message_id) as changed:
        assert await sweep(LASTING, wakeup, 3) == 1
        assert changed.is_set()

    assert await recipient_states(claim.message_id) == ["queued"]
    row = await message_row(claim.message_id)
    assert (row["state"], row["lease_owner"], row["crashes"]) == ("queued", None, 1)
    assert [attempt["outcome"] for attempt in await rows("SELECT outcome FROM attempt")] == ["queued"]
    assert await sweep(LASTING, wakeup, 3) == 0


async def test_mail_that_is_to_fail_in_doubt_fails_though_its_service_is_paused(
    service: Service, put_mail: Put, wakeup: Wakeup
) -> None:
    claim = await claimed(put_mail, 60, on_doubt=OnDoubt.FAIL)
    assert await begin_dot(claim, [claim.recipients[0].id], now(), 0)
    await pause(service)
    assert await sweep(LASTING, wakeup, 3) == 1

    assert await recipient_states(claim.message_id) == ["failed"]
    assert (await message_row(claim.message_id))["due_at"] is None


async def test_what_was_lost_too_often_is_parked(put_mail: Put, wakeup: Wakeup) -> None:
    claim = await claimed(put_mail)
    assert await sweep(LASTING, wakeup, 1) == 1
    assert await recipient_states(claim.message_id) == ["failed"]


async def test_a_living_workers_lease_is_left_alone(put_mail: Put, wakeup: Wakeup) -> None:
    claim = await claimed(put_mail, 60)
    assert await sweep(LASTING, wakeup, 3) == 0
    assert await recipient_states(claim.message_id) == ["claimed"]


async def test_after_trouble_who_knows_a_result_goes_first(put_mail: Put, wakeup: Wakeup) -> None:
    claim = await claimed(put_mail)
    assert await sweep(Uptime(20), wakeup, 3) == 0
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert await settle(claim, lambda _: [settlement], now(), now())
    assert await sweep(LASTING, wakeup, 3) == 0
    assert await recipient_states(claim.message_id) == ["sent"]


async def test_it_goes_on_after_trouble(
    put_mail: Put, wakeup: Wakeup, database: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    claim = await claimed(put_mail)
    await close_database()
    sweeping = asyncio.create_task(run_sweep(LASTING, wakeup, interval=0.01, max_crashes=3))
    async with asyncio.timeout(20):
        while "lost attempts could not be ended" not in caplog.text:  # noqa: ASYNC110 - a log line sets no event
            await asyncio.sleep(0.01)
        await open_database(database)
        while await recipient_states(claim.message_id) != ["queued"]:  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)
    sweeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweeping

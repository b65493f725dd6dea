"""Waiting for the verdict: woken at once, never for ever, and at its end nothing said is unsaid."""

import asyncio
from uuid import UUID

import pytest

from app.clock import now
from app.database.key import new_key
from app.delivery.backoff import RetryPolicy
from app.delivery.outcome import judge_attempt
from app.mail.reply import Reply
from app.queue.claim import Claim, claim_message
from app.queue.embedded import EmbeddedEngine
from app.queue.put import put
from app.queue.settle import Settlement, settle
from app.queue.states import MessageState
from app.queue.wakeup import Wakeup
from app.settings import Settings
from app.smtp.failure import Cause, Failure, Phase
from app.smtp.transaction import TransactionResult
from app.submission.verdict import VerdictWaiter
from tests.factories import make_principal, make_service, message_row, new_message

NEVER = 3600.0
SENT = TransactionResult({"bob@example.com": Reply(250, "taken")})
SERVICE_FAULT = TransactionResult({}, Failure(Phase.CONNECT, Cause.CONNECTION_REFUSED, "Connection refused."))


class Mail:
    """One accepted mail, whose client awaits the verdict, under a worker's claim."""

    def __init__(self, claim: Claim, wakeup: Wakeup) -> None:
        self.id = claim.message_id
        self._claim = claim
        self._wakeup = wakeup

    async def settle(self, result: TransactionResult) -> None:
        def judge(verdict_awaited: bool) -> list[Settlement]:
            policy = RetryPolicy((30,), 0, 3600)
            return judge_attempt(self._claim, result, now(), policy, lambda: 0, verdict_awaited=verdict_awaited)

        assert await settle(self._claim, judge, now(), now())
        self._wakeup.message_changed(self.id)


@pytest.fixture
def wakeup() -> Wakeup:
    return Wakeup()


@pytest.fixture
async def accepted(database: Settings, wakeup: Wakeup) -> list[UUID]:
    service, principal = await make_service(), await make_principal()
    engine = EmbeddedEngine(wakeup, 1)
    messages = [new_message(service, principal, verdict_awaited=True) for _ in range(12)]
    return [(await put(message, now(), engine)).message_id for message in messages]


@pytest.fixture
async def mails(accepted: list[UUID], wakeup: Wakeup) -> list[Mail]:
    claims = [await claim_message(new_key(), message_id, now(), 60) for message_id in accepted]
    return [Mail(claim, wakeup) for claim in claims if claim is not None]


async def test_a_verdict_that_is_there_already_needs_no_waiting(mails: list[Mail], wakeup: Wakeup) -> None:
    await mails[0].settle(SENT)
    waiter = VerdictWaiter(wakeup, NEVER)

    assert await waiter.wait(mails[0].id, 0) is MessageState.SENT
    assert await waiter.wait_and_end(mails[0].id, NEVER) is MessageState.SENT


async def test_the_waiter_is_woken_wherever_the_change_falls(mails: list[Mail], wakeup: Wakeup) -> None:
    waiter = VerdictWaiter(wakeup, NEVER)
    for steps, mail in enumerate(mails):
        waiting = asyncio.create_task(waiter.wait(mail.id, NEVER))
        for _ in range(steps):
            await asyncio.sleep(0)
        await mail.settle(SENT)
        async with asyncio.timeout(20):
            assert await waiting is MessageState.SENT


async def test_changes_that_are_no_verdict_do_not_end_the_wait(
    accepted: list[UUID], mails: list[Mail], wakeup: Wakeup
) -> None:
    waiting = asyncio.create_task(VerdictWaiter(wakeup, NEVER).wait(mails[0].id, NEVER))
    for _ in range(3):
        await asyncio.sleep(0.01)
        wakeup.message_changed(mails[0].id)
    assert not waiting.done()
    await mails[0].settle(SENT)
    async with asyncio.timeout(20):
        assert await waiting is MessageState.SENT


async def test_the_verdict_of_another_process_is_found_by_looking(mails: list[Mail]) -> None:
    waiting = asyncio.create_task(VerdictWaiter(Wakeup(), 0.01).wait(mails[0].id, NEVER))
    await asyncio.sleep(0)
    await mails[0].settle(SENT)
    async with asyncio.timeout(20):
        assert await waiting is MessageState.SENT


async def test_without_a_verdict_the_wait_ends_by_itself(mails: list[Mail], wakeup: Wakeup) -> None:
    assert await VerdictWaiter(wakeup, NEVER).wait(mails[0].id, 0.01) is MessageState.SENDING
    assert not wakeup._watchers


async def test_when_the_server_stops_every_wait_ends_at_once(mails: list[Mail], wakeup: Wakeup) -> None:
    waiter = VerdictWaiter(wakeup, NEVER)
    begun = [asyncio.create_task(waiter.wait_and_end(mail.id, NEVER)) for mail in mails[1:]]
    for _ in range(3):
        await asyncio.sleep(0.01)
    waiter.stop()
    async with asyncio.timeout(20):
        states = await asyncio.gather(*begun, waiter.wait_and_end(mails[0].id, NEVER))
    assert set(states) == {MessageState.SENDING}
    await mails[0].settle(SERVICE_FAULT)
    assert (await message_row(mails[0].id))["state"] == "deferred"


async def test_a_fault_of_the_service_before_the_end_of_the_wait_fails_the_mail(
    mails: list[Mail], wakeup: Wakeup
) -> None:
    await mails[0].settle(SERVICE_FAULT)
    assert await VerdictWaiter(wakeup, NEVER).wait_and_end(mails[0].id, 0) is MessageState.FAILED


async def test_a_fault_of_the_service_after_the_end_of_the_wait_defers_the_mail(
    mails: list[Mail], wakeup: Wakeup
) -> None:
    assert await VerdictWaiter(wakeup, NEVER).wait_and_end(mails[0].id, 0) is MessageState.SENDING
    await mails[0].settle(SERVICE_FAULT)
    assert (await message_row(mails[0].id))["state"] == "deferred"


async def test_at_the_very_end_of_the_wait_what_was_answered_stays_true(mails: list[Mail], wakeup: Wakeup) -> None:
    waiter = VerdictWaiter(wakeup, NEVER)
    for steps, mail in enumerate(mails):
        ending = asyncio.create_task(waiter.wait_and_end(mail.id, 0))
        for _ in range(steps):
            await asyncio.sleep(0)
        _, answered = await asyncio.gather(mail.settle(SERVICE_FAULT), ending)
        state = (await message_row(mail.id))["state"]
        assert (answered is MessageState.FAILED) == (state == "failed"), (answered, state)

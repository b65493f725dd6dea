"""Accepted mail is cancelled, held, released, rescheduled and retried, as far as it is not too late."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from app.access.check import GrantValues
from app.access.principal import Principal
from app.database.connection import execute, rows
from app.errors import ErrorCode, Forbidden, InvalidInput, NotFound
from app.queue.claim import Claim, claim_message
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Job
from app.queue.intervene import Intervener, Intervention
from app.queue.remove import remove_service
from app.queue.schedule import Schedule
from app.queue.settle import Settlement, settle
from app.queue.states import SETTLED, RecipientState
from app.queue.wakeup import Wakeup
from app.services.models import Service
from tests.factories import NOW, after, make_principal, message_row, recipient_states
from tests.queue.conftest import Put

VERBS = ("cancel", "hold", "release", "retry")
DAY = 24 * 3600


async def claimed(message_id: UUID, worker: UUID, seconds: float = 0) -> Claim:
    claim = await claim_message(worker, message_id, after(seconds), 60)
    assert claim is not None
    return claim


async def end_in(message_id: UUID, worker: UUID, *states: RecipientState, seconds: float = 0) -> None:
    """One attempt that ends so for each recipient; what is deferred is due 30 seconds later."""
    claim = await claimed(message_id, worker, seconds)
    settlements = [
        Settlement(r.id, r.number, state, None if state in SETTLED else after(seconds + 30))
        for r, state in zip(claim.recipients, states, strict=True)
    ]
    assert await settle(claim, lambda _: settlements, after(seconds), after(seconds))


async def events(message_id: UUID) -> list[str]:
    found = await rows("SELECT type FROM event WHERE message_id = $1 ORDER BY id", message_id)
    return [row["type"] for row in found]


def told(done: Intervention) -> list[tuple[bool, str]]:
    return [(change.changed, change.state.value) for change in done.recipients]


async def test_what_has_not_left_is_cancelled_and_what_has_stays(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail("a@example.com", "b@example.com", "c@example.com")
    await end_in(message_id, worker, RecipientState.SENT, RecipientState.DEFERRED, RecipientState.FAILED)
    done = await intervener.cancel(message_id, principal, after(1))

    assert told(done) == [(False, "sent"), (True, "cancelled"), (False, "failed")]
    assert [change.email for change in done.recipients] == ["a@example.com", "b@example.com", "c@example.com"]
    assert done.problem is None
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["settled_at"]) == ("partially_sent", None, after(1))
    assert (await events(message_id))[-1] == "cancelled"
    assert await claim_message(worker, message_id, after(1000), 60) is None


@pytest.mark.parametrize("verb", VERBS)
async def test_a_recipient_that_is_being_sent_is_never_touched(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID, verb: str
) -> None:
    message_id = await put_mail()
    claim = await claimed(message_id, worker)
    before = await message_row(message_id)
    done = await getattr(intervener, verb)(message_id, principal, after(59))

    assert told(done) == [(False, "claimed")]
    assert done.problem is not None
    assert (done.problem.code, done.problem.retryable) == (ErrorCode.WRONG_STATE, True)
    assert "being sent right now" in done.problem.message
    assert await message_row(message_id) == before
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert await settle(claim, lambda _: [settlement], NOW, after(60))


async def test_the_others_of_a_mail_that_is_being_sent_are_changed_and_its_lease_stays(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    await execute("UPDATE recipient SET due_at = $1 WHERE position = 1", after(100))
    claim = await claimed(message_id, worker)
    done = await intervener.cancel(message_id, principal, after(1))

    assert told(done) == [(False, "claimed"), (True, "cancelled")]
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["fence"]) == ("sending", after(60), claim.fence)
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert await settle(claim, lambda _: [settlement], NOW, after(2))
    assert await recipient_states(message_id) == ["sent", "cancelled"]


@pytest.mark.parametrize("verb", ["cancel", "hold"])
async def test_who_intervenes_after_an_outage_leaves_the_result_to_the_worker_that_knows_it(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID, verb: str
) -> None:
    message_id = await put_mail()
    claim = await claimed(message_id, worker)
    done = await getattr(intervener, verb)(message_id, principal, after(75))

    assert told(done) == [(False, "claimed")]
    assert done.problem is not None
    assert (done.problem.message, done.problem.retryable) == ("Too late: it is being sent right now.", True)
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert await settle(claim, lambda _: [settlement], NOW, after(76))
    assert await recipient_states(message_id) == ["sent"]


@pytest.mark.parametrize(("verb", "state"), [("cancel", "cancelled"), ("hold", "held")])
async def test_the_mail_of_a_dead_worker_is_changed_a_grace_after_its_lease(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID, verb: str, state: str
) -> None:
    message_id = await put_mail()
    claim = await claimed(message_id, worker)
    patient = replace(intervener, lease_grace=10)
    assert told(await getattr(patient, verb)(message_id, principal, after(69.9))) == [(False, "claimed")]
    done = await getattr(patient, verb)(message_id, principal, after(70))

    assert told(done) == [(True, state)]
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert not await settle(claim, lambda _: [settlement], NOW, after(71)), "its result comes too late"
    assert await recipient_states(message_id) == [state]


@pytest.mark.parametrize("verb", ["cancel", "hold", "release", "retry"])
async def test_what_was_sent_stays_sent(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID, verb: str
) -> None:
    message_id = await put_mail()
    await end_in(message_id, worker, RecipientState.SENT)
    before = await message_row(message_id)
    done = await getattr(intervener, verb)(message_id, principal, after(1))

    assert told(done) == [(False, "sent")]
    assert done.problem is not None
    assert (done.problem.message, done.problem.retryable) == ("Too late: it was sent.", False)
    assert await message_row(message_id) == before


async def test_held_mail_stays_until_it_is_released(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail()
    assert told(await intervener.hold(message_id, principal, NOW)) == [(True, "held")]
    assert await claim_message(worker, message_id, after(DAY), 60) is None
    assert (await message_row(message_id))["state"] == "held"

    assert told(await intervener.release(message_id, principal, after(DAY))) == [(True, "queued")]
    assert (await message_row(message_id))["due_at"] == after(DAY)
    await claimed(message_id, worker, DAY)
    assert await events(message_id) == ["accepted", "held", "released"]


async def test_mail_released_before_its_time_waits_for_it(
    intervener: Intervener, principal: Principal, put_mail: Put
) -> None:
    message_id = await put_mail(schedule=Schedule(send_at=after(100)))
    await intervener.hold(message_id, principal, NOW)
    await intervener.release(message_id, principal, after(1))

    assert (await message_row(message_id))["due_at"] == after(100)


async def test_mail_is_tried_at_the_time_it_is_rescheduled_to(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail(schedule=Schedule(send_at=after(100)))
    assert told(await intervener.reschedule(message_id, after(200), principal, NOW)) == [(True, "queued")]
    row = await message_row(message_id)
    assert (row["scheduled_at"], row["due_at"]) == (after(200), after(200))
    assert await claim_message(worker, message_id, after(199), 60) is None

    await intervener.reschedule(message_id, after(-5), principal, after(1))
    await claimed(message_id, worker, 1)


async def test_held_mail_that_is_rescheduled_stays_held_and_then_waits(
    intervener: Intervener, principal: Principal, put_mail: Put
) -> None:
    message_id = await put_mail()
    await intervener.hold(message_id, principal, NOW)
    assert told(await intervener.reschedule(message_id, after(50), principal, NOW)) == [(True, "held")]
    await intervener.release(message_id, principal, after(1))

    assert (await message_row(message_id))["due_at"] == after(50)


async def test_what_cannot_be_rescheduled_keeps_its_schedule(
    intervener: Intervener, principal: Principal, put_mail: Put
) -> None:
    message_id = await put_mail(schedule=Schedule(expires_at=after(100)))
    for seconds in (100, 367 * DAY):
        with pytest.raises(InvalidInput):
            await intervener.reschedule(message_id, after(seconds), principal, NOW)
    await intervener.cancel(message_id, principal, NOW)
    done = await intervener.reschedule(message_id, after(50), principal, NOW)

    assert done.problem is not None
    assert (await message_row(message_id))["scheduled_at"] is None


async def test_only_what_failed_or_expired_is_retried_and_the_count_goes_on(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail("a@example.com", "b@example.com", "c@example.com")
    await end_in(message_id, worker, RecipientState.SENT, RecipientState.FAILED, RecipientState.EXPIRED)
    done = await intervener.retry(message_id, principal, after(5 * DAY))

    assert told(done) == [(False, "sent"), (True, "queued"), (True, "queued")]
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["settled_at"]) == ("queued", after(5 * DAY), None)
    claim = await claimed(message_id, worker, 5 * DAY)
    assert [(r.address, r.number, r.tried_since) for r in claim.recipients] == [
        ("b@example.com", 2, None),
        ("c@example.com", 2, None),
    ]


async def test_nobody_waits_for_the_verdict_of_what_is_retried(
    intervener: Intervener, principal: Principal, put_mail: Put
) -> None:
    message_id = await put_mail(verdict_awaited=True)
    await execute("UPDATE recipient SET state = 'failed', due_at = NULL WHERE message_id = $1", message_id)
    assert (await intervener.retry(message_id, principal, after(1))).problem is None
    assert not (await message_row(message_id))["verdict_awaited"]


async def test_a_mail_whose_own_time_is_over_is_not_retried(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail(schedule=Schedule(expires_at=after(100)))
    await end_in(message_id, worker, RecipientState.FAILED)
    done = await intervener.retry(message_id, principal, after(100))
    assert told(done) == [(False, "failed")]
    assert done.problem is not None
    assert done.problem.message == "Too late: the mail's own expiresAt has passed."
    assert told(await intervener.retry(message_id, principal, after(99))) == [(True, "queued")]


async def test_the_mail_of_a_deleted_service_is_not_retried(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID, service: Service
) -> None:
    message_id = await put_mail()
    await end_in(message_id, worker, RecipientState.FAILED)
    await remove_service(service.id, principal, NOW)
    done = await intervener.retry(message_id, principal, NOW)
    assert told(done) == [(False, "failed")]
    assert done.problem is not None
    assert done.problem.message == "Too late: its service was deleted."


class NotingEngine(EmbeddedEngine):
    """Notes the jobs it is given."""

    def __init__(self) -> None:
        super().__init__(Wakeup(), 1)
        self.jobs: list[Job] = []

    async def submit(self, jobs: Sequence[Job]) -> None:
        self.jobs += jobs


async def test_the_engine_hears_when_a_mail_is_due_another_time(
    principal: Principal, put_mail: Put, service: Service
) -> None:
    message_id = await put_mail()
    engine = NotingEngine()
    intervener = Intervener(engine, Wakeup(), DAY)
    await intervener.hold(message_id, principal, NOW)
    assert engine.jobs == []
    await intervener.release(message_id, principal, after(1))
    await intervener.reschedule(message_id, after(50), principal, after(2))

    assert engine.jobs == [Job(message_id, service.id, after(seconds), 1) for seconds in (1, 50)]


async def test_who_waits_for_the_mail_hears_of_it(
    intervener: Intervener, principal: Principal, put_mail: Put, wakeup: Wakeup
) -> None:
    message_id = await put_mail()
    with wakeup.watching(message_id) as changed:
        await intervener.cancel(message_id, principal, NOW)
        assert changed.is_set()


async def test_who_sends_with_the_service_may_change_what_its_own_role_sent(
    intervener: Intervener, principal: Principal, put_mail: Put
) -> None:
    sender = await make_principal("sender", [GrantValues(None, ["SEND"])])
    own, other = await put_mail(role_id=sender.role_id), await put_mail()
    assert told(await intervener.hold(own, sender, NOW)) == [(True, "held")]
    with pytest.raises(NotFound):
        await intervener.hold(other, sender, NOW)

    reader = await make_principal("reader", [GrantValues(None, ["SEND", "READ_MESSAGES"])])
    with pytest.raises(Forbidden, match="not granted MANAGE_SERVICES"):
        await intervener.hold(other, reader, NOW)
    manager = await make_principal("manager", [GrantValues(None, ["MANAGE_SERVICES"])])
    assert told(await intervener.release(own, manager, NOW)) == [(True, "queued")]
    assert await recipient_states(other) == ["queued"]


async def test_a_role_that_may_send_no_longer_may_change_nothing(intervener: Intervener, put_mail: Put) -> None:
    former = await make_principal("former", [])
    message_id = await put_mail(role_id=former.role_id)
    with pytest.raises(Forbidden, match="not granted SEND"):
        await intervener.cancel(message_id, former, NOW)


async def test_a_message_that_is_not_there_is_not_found(
    intervener: Intervener, principal: Principal, worker: UUID
) -> None:
    with pytest.raises(NotFound):
        await intervener.cancel(worker, principal, NOW)


async def test_of_a_claim_and_a_cancellation_at_once_exactly_one_wins(
    intervener: Intervener, principal: Principal, put_mail: Put, worker: UUID
) -> None:
    messages = [await put_mail() for _ in range(20)]
    claims = [claim_message(worker, message_id, NOW, 60) for message_id in messages]
    cancellations = [intervener.cancel(message_id, principal, NOW) for message_id in messages]
    claimed_or_not = asyncio.gather(*claims)
    told_of_each = asyncio.gather(*cancellations)
    for claim, done, message_id in zip(await claimed_or_not, await told_of_each, messages, strict=True):
        assert told(done) == ([(True, "cancelled")] if claim is None else [(False, "claimed")])
        assert await recipient_states(message_id) == [told(done)[0][1]]

"""Mail is not tried from the moment on at which its author wants it no more."""

from uuid import UUID

import pytest

from app.access.principal import Principal
from app.database.connection import rows
from app.queue.claim import claim_message
from app.queue.expire import expire_overdue
from app.queue.intervene import Intervener
from app.queue.pause import pause_service
from app.queue.schedule import Schedule
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.models import Service
from tests.factories import NOW, after, message_row, recipient_states
from tests.queue.conftest import Put

SOON = Schedule(expires_at=after(100))


async def test_mail_can_be_claimed_until_it_expires(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail(schedule=SOON)
    claim = await claim_message(worker, message_id, after(99.999), 60)
    assert claim is not None
    assert claim.expires_at == after(100)


async def test_a_claim_that_comes_too_late_expires_the_mail(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com", schedule=SOON)
    assert await claim_message(worker, message_id, after(100), 60) is None

    assert await recipient_states(message_id) == ["expired", "expired"]
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["settled_at"]) == ("expired", None, after(100))
    found = await rows("SELECT type FROM event WHERE recipient_id IS NOT NULL")
    assert [event["type"] for event in found] == ["expired", "expired"]
    details = await rows("SELECT detail, attempt_number FROM recipient")
    assert {(row["detail"], row["attempt_number"]) for row in details} == {
        ("It could not be sent before it expired.", 0)
    }


async def test_the_sweep_expires_what_is_overdue_and_nothing_else(put_mail: Put) -> None:
    overdue = [await put_mail(schedule=SOON) for _ in range(3)]
    later, never = await put_mail(schedule=Schedule(expires_at=after(101))), await put_mail()
    assert await expire_overdue(after(99)) == 0
    assert await expire_overdue(after(100)) == 3
    assert await expire_overdue(after(100)) == 0

    assert [await recipient_states(message_id) for message_id in overdue] == [["expired"]] * 3
    assert [await recipient_states(message_id) for message_id in (later, never)] == [["queued"]] * 2


async def test_held_mail_and_mail_of_a_paused_service_expires_too(
    intervener: Intervener, principal: Principal, service: Service, put_mail: Put
) -> None:
    held, waiting = await put_mail(schedule=SOON), await put_mail(schedule=SOON)
    await intervener.hold(held, principal, NOW)
    await pause_service(service.id, "maintenance", None, NOW, max_reason_chars=100)

    assert await expire_overdue(after(100)) == 2
    assert await recipient_states(held) == await recipient_states(waiting) == ["expired"]


async def test_what_is_being_sent_when_it_expires_is_left_to_its_attempt(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail(schedule=SOON)
    claim = await claim_message(worker, message_id, after(90), 60)
    assert claim is not None
    assert await expire_overdue(after(149)) == 0
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert await settle(claim, lambda _: [settlement], after(90), after(149))


async def test_what_is_not_being_sent_expires_beside_what_is(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com", schedule=SOON)
    first = await claim_message(worker, message_id, NOW, 60)
    assert first is not None
    a, b = first.recipients
    tried = [
        Settlement(a.id, a.number, RecipientState.DEFERRED, after(30)),
        Settlement(b.id, b.number, RecipientState.DEFERRED, after(200)),
    ]
    await settle(first, lambda _: tried, NOW, NOW)
    second = await claim_message(worker, message_id, after(90), 60)
    assert second is not None
    assert await expire_overdue(after(100)) == 1
    assert await recipient_states(message_id) == ["claimed", "expired"]
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], str(row["lease_owner"])) == ("sending", after(150), str(worker))
    assert await expire_overdue(after(100)) == 0

    sent = [Settlement(each.id, each.number, RecipientState.SENT) for each in second.recipients]
    assert await settle(second, lambda _: sent, after(101), after(101))
    assert await recipient_states(message_id) == ["sent", "expired"]
    assert (await message_row(message_id))["settled_at"] == after(101)


async def test_a_worker_that_an_outage_kept_from_writing_its_result_writes_it_though_the_mail_is_overdue(
    put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail(schedule=SOON)
    claim = await claim_message(worker, message_id, after(90), 60)
    assert claim is not None
    assert await expire_overdue(after(150)) == 0
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert await settle(claim, lambda _: [settlement], after(90), after(151))
    assert await recipient_states(message_id) == ["sent"]


@pytest.mark.parametrize("by_claim", [True, False])
async def test_what_a_dead_worker_had_is_expired_by_the_claim_that_takes_over_and_without_one_after_a_grace(
    put_mail: Put, worker: UUID, other_worker: UUID, by_claim: bool
) -> None:
    message_id = await put_mail(schedule=SOON)
    claim = await claim_message(worker, message_id, after(90), 60)
    assert claim is not None
    if by_claim:
        assert await claim_message(other_worker, message_id, after(150), 60) is None
    else:
        assert await expire_overdue(after(159.9), grace=10) == 0
        assert await expire_overdue(after(160), grace=10) == 1

    assert await recipient_states(message_id) == ["expired"]
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert not await settle(claim, lambda _: [settlement], after(90), after(151))

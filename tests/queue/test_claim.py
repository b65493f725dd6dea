"""A claim leases a message to one worker, and a fence tells the current claim from those before it."""

import asyncio
from uuid import UUID

from app.database.connection import execute
from app.queue.claim import Claim, claim_message, release_claim, renew_lease
from app.queue.schedule import Schedule
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from tests.factories import NOW, after, count, message_row, recipient_states
from tests.queue.conftest import Put

LEASE = 60.0


async def claimed(worker: UUID, message_id: UUID, seconds: float = 0) -> Claim:
    claim = await claim_message(worker, message_id, after(seconds), LEASE)
    assert claim is not None
    return claim


async def defer(claim: Claim, address: str, until: float, seconds: float = 0) -> None:
    """Settle every recipient of the claim: `address` deferred, the others sent."""

    def judge(_: bool) -> list[Settlement]:
        return [
            Settlement(r.id, r.number, RecipientState.DEFERRED, after(until))
            if r.address == address
            else Settlement(r.id, r.number, RecipientState.SENT)
            for r in claim.recipients
        ]

    assert await settle(claim, judge, after(seconds), after(seconds))


async def test_a_claim_holds_the_due_recipients_in_their_order(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("c@example.com", "a@example.com", "b@example.com")
    claim = await claimed(worker, message_id)

    assert [r.address for r in claim.recipients] == ["c@example.com", "a@example.com", "b@example.com"]
    assert (claim.reverse_path, claim.fence) == ("ada@example.com", 1)
    assert {recipient.number for recipient in claim.recipients} == {1}
    row = await message_row(message_id)
    assert (row["state"], row["lease_until"], row["due_at"]) == ("sending", after(LEASE), after(LEASE))
    assert await recipient_states(message_id) == ["claimed"] * 3


async def test_nothing_can_be_claimed_before_it_is_due(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail(moment=after(0.000001))

    assert await claim_message(worker, message_id, NOW, LEASE) is None
    assert (await message_row(message_id))["fence"] == 0
    assert await claim_message(worker, message_id, after(0.000001), LEASE) is not None


async def test_a_lease_that_ended_is_respected_by_who_may_not_take_over(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail(schedule=Schedule(expires_at=after(100)))
    claim = await claimed(worker, message_id)
    for seconds in (60, 100):
        late = after(seconds)
        assert await claim_message(other_worker, message_id, late, LEASE, take_over=False) is None
    assert await recipient_states(message_id) == ["claimed"]
    assert await settle(claim, lambda _: [_sent(claim)], NOW, after(100))
    assert await recipient_states(message_id) == ["sent"]


async def test_who_may_not_take_over_claims_what_nobody_has(put_mail: Put, worker: UUID) -> None:
    assert await claim_message(worker, await put_mail(), NOW, LEASE, take_over=False) is not None


def _sent(claim: Claim) -> Settlement:
    (recipient,) = claim.recipients
    return Settlement(recipient.id, recipient.number, RecipientState.SENT)


async def test_a_message_that_does_not_exist_cannot_be_claimed(put_mail: Put, worker: UUID) -> None:
    await put_mail()
    assert await claim_message(worker, worker, NOW, LEASE) is None


async def test_a_leased_message_cannot_be_claimed_again_not_even_by_its_owner(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail()
    claim = await claimed(worker, message_id)

    for contender in (worker, other_worker):
        assert await claim_message(contender, message_id, after(LEASE - 0.001), LEASE) is None
    row = await message_row(message_id)
    assert (row["fence"], row["lease_until"]) == (claim.fence, after(LEASE))


async def test_of_many_that_claim_at_once_one_succeeds(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    claims = await asyncio.gather(*(claim_message(worker, message_id, NOW, LEASE) for _ in range(8)))

    assert [claim is not None for claim in claims].count(True) == 1


async def test_when_the_lease_has_ended_another_worker_takes_over_and_the_lost_attempt_counts(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail()
    lost = await claimed(worker, message_id)
    taken_over = await claimed(other_worker, message_id, LEASE)

    assert taken_over.fence == lost.fence + 1
    assert [recipient.number for recipient in taken_over.recipients] == [2]
    assert await recipient_states(message_id) == ["claimed"]


async def test_a_renewed_lease_ends_later(put_mail: Put, worker: UUID, other_worker: UUID) -> None:
    message_id = await put_mail()
    claim = await claimed(worker, message_id)

    assert await renew_lease(claim, after(30), LEASE)
    assert await claim_message(other_worker, message_id, after(LEASE), LEASE) is None
    assert await claim_message(other_worker, message_id, after(30 + LEASE), LEASE) is not None


async def test_a_lease_that_nobody_took_over_can_still_be_renewed(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    claim = await claimed(worker, message_id)

    assert await renew_lease(claim, after(2 * LEASE), LEASE)
    assert (await message_row(message_id))["lease_until"] == after(3 * LEASE)


async def test_a_lost_lease_can_be_neither_renewed_nor_released(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail()
    lost = await claimed(worker, message_id)
    await claimed(other_worker, message_id, LEASE)
    before = await message_row(message_id)

    assert not await renew_lease(lost, after(LEASE), LEASE)
    assert not await release_claim(lost, after(LEASE))
    assert await message_row(message_id) == before
    assert await recipient_states(message_id) == ["claimed"]


async def test_a_worker_that_lost_its_lease_to_itself_holds_only_the_new_one(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    lost = await claimed(worker, message_id)
    current = await claimed(worker, message_id, LEASE)

    assert not await renew_lease(lost, after(LEASE), LEASE)
    assert await renew_lease(current, after(LEASE), LEASE)


async def test_a_released_claim_is_due_again_at_once_and_counts_no_attempt(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    assert await release_claim(await claimed(worker, message_id), after(1))

    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["lease_owner"], row["lease_until"]) == ("queued", NOW, None, None)
    again = await claimed(worker, message_id, 1)
    assert [recipient.number for recipient in again.recipients] == [1, 1]
    assert await count("attempt") == 0


async def test_only_recipients_that_are_due_are_claimed(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com", "c@example.com")
    await defer(await claimed(worker, message_id), "b@example.com", until=30)

    assert (await message_row(message_id))["due_at"] == after(30)
    assert await claim_message(worker, message_id, after(29), LEASE) is None
    claim = await claimed(worker, message_id, 30)
    assert [(r.address, r.number) for r in claim.recipients] == [("b@example.com", 2)]
    assert await recipient_states(message_id) == ["sent", "claimed", "sent"]


async def test_a_message_is_due_when_its_first_recipient_is(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    claim = await claimed(worker, message_id)

    def judge(_: bool) -> list[Settlement]:
        return [
            Settlement(recipient.id, 1, RecipientState.DEFERRED, after(30 * position))
            for position, recipient in enumerate(claim.recipients, start=1)
        ]

    assert await settle(claim, judge, NOW, NOW)
    assert (await message_row(message_id))["due_at"] == after(30)
    claim = await claimed(worker, message_id, 45)
    assert [recipient.address for recipient in claim.recipients] == ["a@example.com"]
    assert await release_claim(claim, after(45))
    claim = await claimed(worker, message_id, 60)
    assert [recipient.number for recipient in claim.recipients] == [2, 2]


async def test_a_settled_message_cannot_be_claimed(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    await defer(await claimed(worker, message_id), "nobody@example.com", until=0)

    assert (await message_row(message_id))["due_at"] is None
    assert await claim_message(worker, message_id, after(10**6), LEASE) is None


async def test_a_held_recipient_is_not_claimed_and_the_message_is_put_right(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    await execute("UPDATE recipient SET state = 'held' WHERE message_id = $1", message_id)

    assert await claim_message(worker, message_id, NOW, LEASE) is None
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["lease_owner"], row["settled_at"]) == ("held", None, None, None)


async def test_only_the_first_claim_gives_the_verdict_a_client_waits_for(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail(verdict_awaited=True)

    await claimed(worker, message_id)
    assert (await message_row(message_id))["verdict_awaited"]
    await claimed(worker, message_id, LEASE)
    assert not (await message_row(message_id))["verdict_awaited"]

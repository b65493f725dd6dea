"""An attempt whose worker was lost is written down by whoever finds it, and a mail that loses its workers is parked."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.access.principal import Principal
from app.database.connection import as_key, as_moment, rows
from app.queue.claim import Claim, begin_dot, claim_message, release_claim, renew_lease
from app.queue.doubt import OnDoubt
from app.queue.intervene import Intervener
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.settings import Settings
from tests.factories import after, message_row, recipient_states
from tests.queue.conftest import Put

LEASE = 60.0
FAIL = {"on_doubt": OnDoubt.FAIL}


async def claim_at(seconds: float, worker: UUID, message_id: UUID, max_crashes: int | None = 3) -> Claim | None:
    return await claim_message(worker, message_id, after(seconds), LEASE, max_crashes)


async def claimed(seconds: float, worker: UUID, message_id: UUID) -> Claim:
    claim = await claim_at(seconds, worker, message_id)
    assert claim is not None
    return claim


async def lost(times: int, worker: UUID, message_id: UUID) -> None:
    """So many workers die with the message, each as soon as it has claimed it."""
    for number in range(times):
        await claimed(LEASE * number, worker, message_id)


async def settle_all(claim: Claim, seconds: float, **values: Any) -> None:
    def judge(_: bool) -> list[Settlement]:
        return [Settlement(r.id, r.number, **({"state": RecipientState.SENT} | values)) for r in claim.recipients]

    assert await settle(claim, judge, after(seconds), after(seconds))


async def attempts(message_id: UUID) -> list[dict[str, Any]]:
    return await rows(
        "SELECT attempt.* FROM attempt JOIN recipient ON recipient.id = recipient_id"
        " WHERE attempt.message_id = $1 ORDER BY number, position",
        message_id,
    )


async def details(message_id: UUID) -> list[str | None]:
    found = await rows("SELECT detail FROM recipient WHERE message_id = $1 ORDER BY position", message_id)
    return [row["detail"] for row in found]


async def test_who_takes_over_writes_the_lost_attempt_down(put_mail: Put, worker: UUID, other_worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    await claimed(5, worker, message_id)
    taken_over = await claimed(5 + LEASE, other_worker, message_id)
    await settle_all(taken_over, 70)

    found = await attempts(message_id)
    assert [row["number"] for row in found] == [1, 1, 2, 2]
    assert [as_key(row["worker_id"]) for row in found] == [worker, worker, other_worker, other_worker]
    first = found[0]
    assert (as_moment(first["started_at"]), as_moment(first["finished_at"])) == (after(5), after(5 + LEASE))
    assert (first["outcome"], bool(first["in_doubt"]), first["phase"]) == ("queued", True, None)
    assert first["detail"] == (
        "The worker was lost during this attempt; whether the server took the mail is not known."
    )
    assert [r.tried_since for r in taken_over.recipients] == [after(5), after(5)], "the give-up age goes on"


async def test_what_was_settled_before_the_loss_is_not_written_twice(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    claim = await claimed(0, worker, message_id)
    first = claim.recipients[0]
    done = [Settlement(first.id, first.number, RecipientState.SENT)]
    assert await settle(claim, lambda _: done, after(0), after(1), last=False)
    taken_over = await claimed(LEASE, other_worker, message_id)

    assert [r.address for r in taken_over.recipients] == ["b@example.com"]
    assert [row["outcome"] for row in await attempts(message_id)] == ["sent", "queued"]


async def test_who_intervenes_writes_the_lost_attempt_down_too(
    put_mail: Put, worker: UUID, intervener: Intervener, principal: Principal
) -> None:
    message_id = await put_mail()
    await claimed(0, worker, message_id)
    await replace(intervener, lease_grace=10).hold(message_id, principal, after(LEASE + 10))

    assert await recipient_states(message_id) == ["held"]
    assert [(row["number"], row["outcome"]) for row in await attempts(message_id)] == [(1, "queued")]


async def test_mail_that_is_to_fail_in_doubt_is_tried_again_when_no_final_dot_was_said(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail(**FAIL)
    await claimed(0, worker, message_id)
    taken_over = await claimed(LEASE, other_worker, message_id)

    assert taken_over.on_doubt is OnDoubt.FAIL
    [attempt] = await attempts(message_id)
    assert (attempt["outcome"], bool(attempt["in_doubt"])) == ("queued", False)
    assert attempt["detail"] == "The worker was lost during this attempt, before the final dot."


async def test_mail_that_is_to_fail_in_doubt_does_when_the_final_dot_may_have_been_said(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail("a@example.com", "b@example.com", **FAIL)
    claim = await claimed(0, worker, message_id)
    assert await begin_dot(claim, [claim.recipients[0].id], after(10), LEASE)
    assert await claim_at(LEASE, other_worker, message_id) is None, "the lease was renewed"
    taken_over = await claimed(10 + LEASE, other_worker, message_id)

    assert [r.address for r in taken_over.recipients] == ["b@example.com"]
    assert await recipient_states(message_id) == ["failed", "claimed"]
    text = (await details(message_id))[0]
    assert text == (
        "Uncertain: the server may or may not have taken the mail. The worker was lost during this attempt."
    )
    assert [(row["outcome"], bool(row["in_doubt"])) for row in await attempts(message_id)] == [
        ("failed", True),
        ("queued", False),
    ]
    [event] = await rows("SELECT type, created_at FROM event WHERE message_id = $1 AND type = 'failed'", message_id)
    assert as_moment(event["created_at"]) == after(10 + LEASE)


async def test_mail_whose_only_recipient_failed_in_doubt_is_settled(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail(**FAIL)
    claim = await claimed(0, worker, message_id)
    assert await begin_dot(claim, [claim.recipients[0].id], after(0), LEASE)

    assert await claim_at(LEASE, other_worker, message_id) is None
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["settled_at"]) == ("failed", None, after(LEASE))
    assert not await renew_lease(claim, after(LEASE), LEASE)


async def test_each_claim_begins_without_doubt(put_mail: Put, worker: UUID, other_worker: UUID) -> None:
    message_id = await put_mail(**FAIL)
    claim = await claimed(0, worker, message_id)
    assert await begin_dot(claim, [claim.recipients[0].id], after(0), LEASE)
    assert await release_claim(claim, after(1))
    await claimed(1, worker, message_id)

    assert await claim_at(1 + LEASE, other_worker, message_id) is not None


async def test_no_dot_is_begun_under_a_lease_of_another_worker(put_mail: Put, worker: UUID, other_worker: UUID) -> None:
    message_id = await put_mail(**FAIL)
    stale = await claimed(0, worker, message_id)
    await claimed(LEASE, other_worker, message_id)

    assert not await begin_dot(stale, [stale.recipients[0].id], after(LEASE), LEASE)
    assert not any(row["in_doubt"] for row in await rows("SELECT in_doubt FROM recipient"))


async def test_a_message_that_lost_its_worker_three_times_is_parked_and_can_be_retried(
    put_mail: Put, worker: UUID, intervener: Intervener, principal: Principal
) -> None:
    message_id = await put_mail()
    await lost(3, worker, message_id)
    assert await claim_at(3 * LEASE, worker, message_id) is None

    assert await recipient_states(message_id) == ["failed"]
    assert await details(message_id) == [
        "It was lost with its worker 3 times in a row, so it is not tried again by itself."
    ]
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["settled_at"]) == ("failed", None, after(3 * LEASE))
    assert [row["outcome"] for row in await attempts(message_id)] == ["queued", "queued", "failed"]
    assert len(await rows("SELECT id FROM event WHERE message_id = $1 AND type = 'failed'", message_id)) == 1

    await intervener.retry(message_id, principal, after(200))
    assert (await message_row(message_id))["crashes"] == 0
    assert [r.number for r in (await claimed(200, worker, message_id)).recipients] == [4]
    assert await claim_at(200 + LEASE, worker, message_id) is not None


async def test_only_what_the_lost_worker_had_claimed_is_parked(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    claim = await claimed(0, worker, message_id)
    first = claim.recipients[0]
    later = [Settlement(first.id, first.number, RecipientState.DEFERRED, after(1000))]
    assert await settle(claim, lambda _: later, after(0), after(0), last=False)
    for number in (1, 2):
        await claimed(LEASE * number, worker, message_id)
    assert await claim_at(3 * LEASE, worker, message_id) is None

    assert await recipient_states(message_id) == ["deferred", "failed"]
    assert (await message_row(message_id))["due_at"] == after(1000)


async def test_a_worker_that_outlives_the_message_ends_the_count(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    await lost(2, worker, message_id)
    claim = await claimed(2 * LEASE, worker, message_id)
    await settle_all(claim, 130, state=RecipientState.DEFERRED, due_at=after(160))

    assert (await message_row(message_id))["crashes"] == 0
    for number in range(3):
        await claimed(160 + LEASE * number, worker, message_id)


async def test_a_claim_that_was_given_back_is_no_loss_and_ends_no_count(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    await lost(2, worker, message_id)
    for _ in range(3):
        assert await release_claim(await claimed(2 * LEASE, worker, message_id), after(2 * LEASE))
    assert (await message_row(message_id))["crashes"] == 2
    await claimed(2 * LEASE, worker, message_id)

    assert await claim_at(3 * LEASE, worker, message_id) is None


@pytest.mark.parametrize("lives", [0.0, 19.0])
async def test_a_killed_workers_mail_can_leave_again_within_90_seconds_at_default_settings(
    put_mail: Put, worker: UUID, other_worker: UUID, lives: float
) -> None:
    defaults = Settings()
    # It renews its lease with its last breath. The embedded engine then looks every queue_poll. On PostgreSQL the job
    # is stale after `lease` too; taken before the message is due, it waits for at least another queue_poll; and where
    # there is no job, the sweep makes one.
    noticed = max(2 * defaults.queue_poll, defaults.recover_interval + defaults.queue_poll)
    assert defaults.lease + noticed <= 90

    message_id = await put_mail()
    claim = await claim_message(worker, message_id, after(0), defaults.lease)
    assert claim is not None
    assert await renew_lease(claim, after(lives), defaults.lease)
    assert await claim_message(other_worker, message_id, after(lives + defaults.lease - 0.001), defaults.lease) is None
    assert await claim_message(other_worker, message_id, after(lives + defaults.lease), defaults.lease) is not None

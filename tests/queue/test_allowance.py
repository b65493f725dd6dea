"""A claim takes what the limits of its service allow, no more, and what waits burns no attempt."""

import asyncio
from datetime import datetime
from uuid import UUID

import pytest

from app.database.connection import as_moment, execute, rows
from app.database.key import new_key
from app.queue.allowance import TurnPolicy
from app.queue.claim import Claim, claim_message, release_claim
from app.queue.forgive import forgive_outage
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.manage import ServiceChanges, update_service
from app.services.models import Service
from app.services.secret import Sealer
from app.services.usage import LimitName, Usage, read_used, usage_of
from tests.factories import NOW, after, make_service, message_row, recipient_states
from tests.queue.conftest import Put

LEASE = 60.0
SEALER = Sealer(["thirty-two characters are enough for a test"])


async def limit(service: Service, **limits: float | None) -> None:
    """Change limits as the operator does."""
    changes: ServiceChanges = {**limits}  # type: ignore[typeddict-item]
    await update_service(service, changes, None, SEALER, forgive=forgive_outage)


async def claim(message_id: UUID, seconds: float = 0, turns: TurnPolicy | None = None) -> Claim | None:
    return await claim_message(new_key(), message_id, after(seconds), LEASE, turns=turns or TurnPolicy())


async def send(claim: Claim, seconds: float = 0) -> None:
    """Settle the whole claim as sent."""
    settlements = [Settlement(r.id, r.number, RecipientState.SENT) for r in claim.recipients]
    assert await settle(claim, lambda _: settlements, after(seconds), after(seconds))


async def free_at(service: Service) -> datetime | None:
    found = await rows("SELECT free_at FROM pace WHERE subject = $1", service.id)
    moment: datetime | str | None = found[0]["free_at"]
    return as_moment(moment)


async def usage(service: Service, seconds: float = 0) -> list[Usage]:
    row = await Service.get(id=service.id)
    return usage_of(vars(row), (await read_used([service.id], after(seconds)))[0])


async def test_a_service_without_limits_counts_nothing(service: Service, put_mail: Put) -> None:
    taken = await claim(await put_mail())
    assert taken is not None
    assert (taken.taken, taken.turn_at) == (None, None)
    assert await rows("SELECT subject FROM pace") == await rows("SELECT subject FROM counter") == []
    assert await usage(service) == []


async def test_a_message_over_the_limit_is_not_claimed_and_nothing_of_it_changes(
    service: Service, put_mail: Put
) -> None:
    await limit(service, recipients_per_minute=2)
    assert await claim(await put_mail("a@example.com", "b@example.com")) is not None
    waiting = await put_mail("c@example.com", verdict_awaited=True)
    before = await message_row(waiting)

    assert [await claim(waiting, seconds) for seconds in (0, 30, 60.9)] == [None] * 3

    assert await message_row(waiting) == before
    assert await rows("SELECT state, attempt_number FROM recipient WHERE message_id = $1", waiting) == [
        {"state": "queued", "attempt_number": 0}
    ]
    assert await free_at(service) == after(61)
    assert await usage(service) == [Usage(LimitName.RECIPIENTS_PER_MINUTE, 2, 2, after(61))]
    opened = await claim(waiting, 61)
    assert opened is not None
    assert [recipient.number for recipient in opened.recipients] == [1]


async def test_who_finds_the_limit_used_up_writes_down_when_more_is_free(service: Service, put_mail: Put) -> None:
    await limit(service, recipients_per_hour=1)
    assert await claim(await put_mail()) is not None
    await execute("UPDATE pace SET free_at = NULL")

    assert await claim(await put_mail(), 5) is None
    assert await free_at(service) == after(3660)


async def test_a_message_with_more_recipients_than_allowed_leaves_bit_by_bit_each_recipient_once(
    service: Service, put_mail: Put
) -> None:
    await limit(service, recipients_per_minute=10)
    emails = [f"{number:02}@example.com" for number in range(25)]
    message_id = await put_mail(*emails)

    sent: list[str] = []
    for seconds, expected in ((0, 10), (61, 10), (122, 5)):
        part = await claim(message_id, seconds)
        assert part is not None
        assert {recipient.number for recipient in part.recipients} == {1}
        assert len(part.recipients) == expected
        assert await claim(message_id, seconds) is None
        await send(part, seconds)
        sent += [recipient.address for recipient in part.recipients]
        if seconds < 122:
            row = await message_row(message_id)
            assert (row["state"], row["due_at"], row["lease_until"]) == ("queued", NOW, None)
            assert await claim(message_id, seconds + 60) is None

    assert sent == emails
    assert (await message_row(message_id))["state"] == "sent"


async def test_what_is_left_of_a_dead_workers_claim_waits_as_queued(service: Service, put_mail: Put) -> None:
    message_id = await put_mail(*(f"{number}@example.com" for number in range(5)))
    assert await claim(message_id) is not None
    await limit(service, recipients_per_day=2)

    part = await claim(message_id, LEASE)
    assert part is not None
    assert [recipient.address for recipient in part.recipients] == ["0@example.com", "1@example.com"]
    assert await recipient_states(message_id) == ["claimed"] * 2 + ["queued"] * 3


async def test_a_dead_workers_mail_that_is_over_the_limit_now_waits_as_queued(service: Service, put_mail: Put) -> None:
    await limit(service, recipients_per_day=1)
    message_id = await put_mail()
    assert await claim(message_id) is not None
    await execute("UPDATE pace SET free_at = NULL")

    assert await claim(message_id, LEASE) is None
    assert (await message_row(message_id))["state"] == "queued"
    assert await rows("SELECT number, outcome FROM attempt") == [{"number": 1, "outcome": "queued"}]
    assert await free_at(service) == after(24 * 3600 + 15 * 60)


async def test_a_released_claim_gives_its_recipients_back(service: Service, put_mail: Put) -> None:
    await limit(service, recipients_per_minute=3, recipients_per_day=3)
    first = await claim(await put_mail("a@example.com", "b@example.com", "c@example.com"))
    waiting = await put_mail("d@example.com")
    assert first is not None
    assert await claim(waiting, 1) is None

    assert await release_claim(first, after(2))
    assert [one.used for one in await usage(service, 2)] == [0, 0]
    assert await claim(waiting, 2) is not None
    assert [one.used for one in await usage(service, 2)] == [1, 1]


async def test_what_was_not_tried_through_a_fault_of_the_service_is_given_back(service: Service, put_mail: Put) -> None:
    await limit(service, recipients_per_minute=3)
    taken = await claim(await put_mail("a@example.com", "b@example.com", "c@example.com"))
    assert taken is not None
    first, *others = taken.recipients
    settlements = [
        Settlement(first.id, first.number, RecipientState.SENT),
        *(Settlement(r.id, r.number, RecipientState.DEFERRED, untried=True) for r in others),
    ]
    assert await settle(taken, lambda _: settlements, NOW, NOW)
    assert [(one.used, one.free_at) for one in await usage(service, 1)] == [(1, None)]


async def test_what_was_settled_before_a_release_stays_counted(service: Service, put_mail: Put) -> None:
    await limit(service, recipients_per_minute=3)
    taken = await claim(await put_mail("a@example.com", "b@example.com", "c@example.com"))
    assert taken is not None
    first = taken.recipients[0]
    sent = [Settlement(first.id, first.number, RecipientState.SENT)]
    assert await settle(taken, lambda _: sent, NOW, NOW, last=False)

    assert await release_claim(taken, after(1))
    assert [(one.used, one.free_at) for one in await usage(service, 1)] == [(1, None)]


async def test_a_limit_that_is_raised_or_taken_away_counts_at_once(service: Service, put_mail: Put) -> None:
    await limit(service, recipients_per_day=1, messages_per_second=0.001)
    assert await claim(await put_mail()) is not None
    assert await claim(await put_mail(), 2) is None

    await limit(service, recipients_per_day=2)
    assert await claim(await put_mail(), 2) is None
    await limit(service, messages_per_second=1)
    assert await claim(await put_mail(), 2) is not None
    assert await claim(await put_mail(), 4) is None
    await limit(service, recipients_per_day=None)
    assert await claim(await put_mail(), 4) is not None


async def test_a_limit_that_is_lowered_counts_at_once(service: Service, put_mail: Put) -> None:
    await limit(service, recipients_per_minute=10)
    assert await claim(await put_mail("a@example.com", "b@example.com")) is not None
    await limit(service, recipients_per_minute=1)
    assert await claim(await put_mail(), 1) is None
    assert [(one.used, one.limit) for one in await usage(service, 1)] == [(2, 1)]


async def test_turns_are_spaced_and_one_that_is_far_off_is_not_taken(service: Service, put_mail: Put) -> None:
    await limit(service, messages_per_second=2)
    turns = [await claim(await put_mail("a@example.com", "b@example.com")) for _ in range(4)]

    assert [turn.turn_at if turn else None for turn in turns] == [NOW, after(0.5), after(1), None]
    assert await free_at(service) == after(0.5)
    late = await claim(await put_mail(), 0.5)
    assert late is not None
    assert late.turn_at == after(1.5)
    assert await usage(service, 0.5) == [Usage(LimitName.MESSAGES_PER_SECOND, 3, 2, after(2))]
    assert await usage(service, 2) == [Usage(LimitName.MESSAGES_PER_SECOND, 0, 2, None)]


async def test_a_turn_is_for_as_many_as_one_transaction_of_the_service_may_have(
    service: Service, put_mail: Put
) -> None:
    await limit(service, messages_per_second=2, max_recipients_per_transaction=2)
    claimed = await claim(await put_mail("a@example.com", "b@example.com", "c@example.com"))
    assert claimed is not None
    assert [recipient.address for recipient in claimed.recipients] == ["a@example.com", "b@example.com"]


async def test_a_turn_is_not_used_up_where_no_recipient_is_allowed(service: Service, put_mail: Put) -> None:
    await limit(service, messages_per_second=0.2, recipients_per_minute=1)
    assert await claim(await put_mail()) is not None
    assert await claim(await put_mail(), 30) is None
    opened = await claim(await put_mail(), 61)
    assert opened is not None
    assert opened.turn_at == after(61)


async def test_a_turn_is_for_as_many_recipients_as_one_transaction_takes(service: Service, put_mail: Put) -> None:
    await limit(service, messages_per_second=1)
    message_id = await put_mail(*(f"{number}@example.com" for number in range(5)))
    part = await claim(message_id, 0, TurnPolicy(1, 2))
    assert part is not None
    assert len(part.recipients) == 2
    assert await recipient_states(message_id) == ["claimed"] * 2 + ["queued"] * 3


async def test_services_do_not_share_their_limits(service: Service, put_mail: Put) -> None:
    other = await make_service("other", recipients_per_minute=1)
    await limit(service, recipients_per_minute=1)
    assert await claim(await put_mail()) is not None
    assert await claim(await put_mail(service=other)) is not None
    assert await claim(await put_mail()) is None


@pytest.mark.parametrize("allowed", [1, 7])
async def test_many_claims_at_once_take_exactly_what_is_allowed(service: Service, put_mail: Put, allowed: int) -> None:
    await limit(service, recipients_per_minute=allowed, recipients_per_day=1000)
    messages = [await put_mail() for _ in range(25)]

    claims = await asyncio.gather(*(claim(message_id) for message_id in messages for _ in range(2)))

    assert [taken is not None for taken in claims].count(True) == allowed
    assert [one.used for one in await usage(service)] == [allowed, allowed]
    assert await rows("SELECT COUNT(*) AS many FROM recipient WHERE attempt_number = 1") == [{"many": allowed}]


async def test_claims_releases_and_changes_at_once_do_not_lock_each_other_out(service: Service, put_mail: Put) -> None:
    await limit(service, recipients_per_minute=500)
    messages = [await put_mail("a@example.com", "b@example.com") for _ in range(20)]

    async def claim_and_release(message_id: UUID) -> None:
        for _ in range(3):
            if (taken := await claim(message_id)) is not None:
                assert await release_claim(taken, NOW)

    changes = (limit(service, recipients_per_minute=500 + number) for number in range(5))
    await asyncio.gather(*(claim_and_release(message_id) for message_id in messages * 2), *changes)

    assert [one.used for one in await usage(service)] == [0]

"""Outcomes, attempts and events are written together, and only while the lease holds."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from app.database.connection import as_document, rows
from app.mail.reply import Reply
from app.queue.claim import Claim, claim_message, release_claim
from app.queue.lookup import list_attempts, list_recipients
from app.queue.settle import Judge, Settlement, settle
from app.queue.states import RecipientState
from tests.factories import NOW, after, count, message_row, recipient_states
from tests.queue.conftest import Put

SENT = Reply(250, "taken", "2.0.0")
REFUSED = Reply(550, "no such user", "5.1.1")
BUSY = Reply(451, "try again later", "4.3.0")


async def claimed(worker: UUID, message_id: UUID, moment: datetime = NOW) -> Claim:
    claim = await claim_message(worker, message_id, moment, 60)
    assert claim is not None
    return claim


def each(claim: Claim, *outcomes: Callable[[Any, int], Settlement]) -> Judge:
    pairs = zip(claim.recipients, outcomes, strict=True)
    settlements = [outcome(recipient.id, recipient.number) for recipient, outcome in pairs]
    return lambda _: settlements


def sent(key: UUID, number: int) -> Settlement:
    return Settlement(key, number, RecipientState.SENT, reply=SENT)


def failed(key: UUID, number: int) -> Settlement:
    return Settlement(key, number, RecipientState.FAILED, reply=REFUSED)


def deferred(key: UUID, number: int) -> Settlement:
    return Settlement(key, number, RecipientState.DEFERRED, after(30), BUSY)


def doubtful(key: UUID, number: int) -> Settlement:
    return Settlement(key, number, RecipientState.DEFERRED, after(30), None, "Connection lost.", "dot", in_doubt=True)


def expired(key: UUID, number: int) -> Settlement:
    return Settlement(key, number, RecipientState.EXPIRED, None, None, "Connection refused.", "connect")


async def test_every_recipient_gets_its_own_outcome(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail(*(f"{name}@example.com" for name in "abcde"))
    claim = await claimed(worker, message_id)
    assert await settle(claim, each(claim, sent, failed, deferred, doubtful, expired), after(1), after(2))

    assert await recipient_states(message_id) == ["sent", "failed", "deferred", "deferred", "expired"]
    recipients = (await list_recipients([message_id]))[message_id]
    assert [r.reply for r in recipients] == [SENT, REFUSED, BUSY, None, None]
    assert [r.settled_at for r in recipients] == [after(2), after(2), None, None, after(2)]
    assert [r.next_attempt_at for r in recipients] == [None, None, after(30), after(30), None]
    assert [r.detail for r in recipients] == [None, None, None, "Connection lost.", "Connection refused."]
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["settled_at"], row["lease_owner"]) == ("deferred", after(30), None, None)


async def test_every_attempt_is_written_down(put_mail: Put, worker: UUID, other_worker: UUID) -> None:
    message_id = await put_mail()
    first = await claimed(worker, message_id)
    assert await settle(first, each(first, doubtful), after(1), after(2))
    second = await claimed(other_worker, message_id, after(30))
    assert await settle(second, each(second, sent), after(31), after(32))

    (recipient,) = (await list_recipients([message_id]))[message_id]
    attempts = (await list_attempts([message_id]))[recipient.id]
    assert [(a.number, a.started_at, a.finished_at, a.outcome) for a in attempts] == [
        (1, after(1), after(2), "deferred"),
        (2, after(31), after(32), "sent"),
    ]
    assert [(a.phase, a.in_doubt, a.reply, a.detail) for a in attempts] == [
        ("dot", True, None, "Connection lost."),
        (None, False, SENT, None),
    ]
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["settled_at"]) == ("sent", None, after(32))


async def test_every_outcome_is_an_event_without_any_content(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com", "c@example.com")
    claim = await claimed(worker, message_id)
    assert await settle(claim, each(claim, sent, deferred, expired), NOW, after(1))

    found = await rows("SELECT type, data FROM event WHERE message_id = $1 ORDER BY id", message_id)
    assert [(row["type"], as_document(row["data"])) for row in found] == [
        ("accepted", {}),
        ("sent", {"attempt": 1, "code": 250}),
        ("deferred", {"attempt": 1, "code": 451, "until": after(30).isoformat()}),
        ("expired", {"attempt": 1}),
    ]


async def test_the_result_of_a_lost_lease_is_discarded(put_mail: Put, worker: UUID, other_worker: UUID) -> None:
    message_id = await put_mail()
    stale = await claimed(worker, message_id)
    current = await claimed(other_worker, message_id, after(60))

    assert not await settle(stale, each(stale, failed), NOW, after(61))
    assert await recipient_states(message_id) == ["claimed"]
    assert (await count("attempt"), await count("event")) == (1, 1)
    assert await settle(current, each(current, sent), after(60), after(61))
    assert not await settle(stale, each(stale, failed), NOW, after(62))
    assert not await settle(current, each(current, failed), NOW, after(62))
    assert await recipient_states(message_id) == ["sent"]
    assert (await count("attempt"), await count("event")) == (2, 2)


async def test_a_lease_that_ended_but_was_not_taken_over_still_settles(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    claim = await claimed(worker, message_id)

    assert await settle(claim, each(claim, sent), NOW, after(600))
    assert (await message_row(message_id))["state"] == "sent"


async def test_nothing_is_written_when_the_judge_raises(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    claim = await claimed(worker, message_id)
    before = await message_row(message_id)

    def judge(_: bool) -> Sequence[Settlement]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await settle(claim, judge, NOW, after(1))
    assert await message_row(message_id) == before


async def test_recipients_may_be_settled_in_parts_while_the_lease_goes_on(
    put_mail: Put, worker: UUID, other_worker: UUID
) -> None:
    message_id = await put_mail("a@example.com", "b@example.com", "c@example.com")
    claim = await claimed(worker, message_id)
    first = replace(claim, recipients=claim.recipients[:2])
    rest = replace(claim, recipients=claim.recipients[2:])

    assert await settle(first, each(first, sent, deferred), after(1), after(2), last=False)
    assert await recipient_states(message_id) == ["sent", "deferred", "claimed"]
    row = await message_row(message_id)
    assert (row["state"], str(row["lease_owner"]), row["due_at"]) == ("sending", str(worker), after(60))
    assert await claim_message(other_worker, message_id, after(59), 60) is None
    assert await settle(rest, each(rest, failed), after(2), after(3))
    assert await recipient_states(message_id) == ["sent", "deferred", "failed"]
    row = await message_row(message_id)
    assert (row["state"], row["lease_owner"], row["due_at"]) == ("deferred", None, after(30))
    assert (await count("attempt"), await count("event")) == (3, 4)


async def test_who_takes_over_after_a_part_gets_only_the_rest(put_mail: Put, worker: UUID, other_worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    stale = await claimed(worker, message_id)
    first = replace(stale, recipients=stale.recipients[:1])
    assert await settle(first, each(first, sent), after(1), after(2), last=False)

    current = await claimed(other_worker, message_id, after(60))
    assert [recipient.address for recipient in current.recipients] == ["b@example.com"]
    rest = replace(stale, recipients=stale.recipients[1:])
    for last in (False, True):
        assert not await settle(rest, each(rest, failed), after(1), after(61), last=last)
    assert await recipient_states(message_id) == ["sent", "claimed"]


async def test_what_was_not_settled_can_be_given_back(put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    claim = await claimed(worker, message_id)
    first = replace(claim, recipients=claim.recipients[:1])
    assert await settle(first, each(first, sent), after(1), after(2), last=False)

    assert await release_claim(claim, after(3))
    recipients = (await list_recipients([message_id]))[message_id]
    assert [(r.state, r.attempt_number) for r in recipients] == [("sent", 1), ("queued", 0)]


@pytest.mark.parametrize("awaited", [True, False])
async def test_the_judge_is_told_whether_a_client_waits(put_mail: Put, worker: UUID, awaited: bool) -> None:
    message_id = await put_mail(verdict_awaited=awaited)
    claim = await claimed(worker, message_id)
    told: list[bool] = []

    def judge(verdict_awaited: bool) -> list[Settlement]:
        told.append(verdict_awaited)
        return list(each(claim, deferred)(verdict_awaited))

    assert await settle(claim, judge, NOW, NOW)
    assert told == [awaited]
    assert not (await message_row(message_id))["verdict_awaited"], "whoever waited was told: queued"


@pytest.mark.parametrize(
    ("state", "due_at"),
    [
        (RecipientState.QUEUED, None),
        (RecipientState.CLAIMED, None),
        (RecipientState.HELD, None),
        (RecipientState.CANCELLED, None),
        (RecipientState.DEFERRED, None),
        (RecipientState.SENT, NOW),
        (RecipientState.FAILED, NOW),
    ],
)
def test_an_attempt_ends_in_an_outcome_and_only_a_deferral_has_a_next_time(
    worker: UUID, state: RecipientState, due_at: Any
) -> None:
    with pytest.raises(ValueError, match="attempt"):
        Settlement(worker, 1, state, due_at)

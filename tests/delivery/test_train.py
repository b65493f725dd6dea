"""Attempts right behind each other on one connection: each mail is settled by itself, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from app.delivery.attempt import Attempter
from app.inbox.receiver import EXTENSIONS, Action, Answer, Drop, Receiver, Script, Stage, Wait
from app.queue.doubt import OnDoubt
from app.queue.lookup import list_attempts, list_recipients
from app.smtp.pool import Pool
from tests.delivery.conftest import MakeAttempter, Put, until
from tests.factories import message_row, recipient_states


@pytest.fixture(params=[frozenset(EXTENSIONS), frozenset(EXTENSIONS) | {"CHUNKING"}], ids=["DATA", "BDAT"])
async def receiver(request: pytest.FixtureRequest, script: Script) -> AsyncIterator[Receiver]:
    async with Receiver(script=script, keep=True, extensions=request.param) as receiver:
        yield receiver


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(max_connections=1, max_messages=100, idle_limit=25, noop_after=5)
    yield pool
    await pool.close()


async def attempted(attempter: Attempter, message_ids: list[UUID]) -> None:
    await asyncio.gather(*(attempter.attempt(message_id) for message_id in message_ids))


async def states(message_ids: list[UUID]) -> list[list[str]]:
    return [await recipient_states(message_id) for message_id in message_ids]


async def numbers(message_ids: list[UUID]) -> list[int]:
    """How many attempts count for each of these mails to one recipient."""
    found = await list_recipients(message_ids)
    return [found[message_id][0].attempt_number for message_id in message_ids]


async def test_each_mail_is_settled_before_the_next_one_has_its_reply(
    put_mail: Put, attempter: Attempter, script: Script, receiver: Receiver
) -> None:
    greeting, answer = asyncio.Event(), asyncio.Event()
    message_ids = [await put_mail() for _ in range(6)]
    script.on(Stage.GREETING, Wait(greeting)).on(Stage.DOT, Wait(answer), after=3)
    attempting = asyncio.create_task(attempted(attempter, message_ids))

    async def all_are_claimed() -> bool:
        return await states(message_ids) == [["claimed"]] * 6

    async def three_are_sent() -> bool:
        return (await states(message_ids)).count(["sent"]) == 3

    await until(all_are_claimed)
    greeting.set()
    await until(three_are_sent)
    assert (await states(message_ids)).count(["claimed"]) == 3
    answer.set()
    await attempting
    assert await states(message_ids) == [["sent"]] * 6
    assert await numbers(message_ids) == [1] * 6
    assert [session.mails for session in receiver.sessions] == [6]
    assert receiver.sessions[0].waits < 12


@pytest.mark.parametrize("action", [Drop(), Answer("421 4.3.2 bye")])
async def test_a_connection_that_ends_with_one_mail_costs_the_next_no_attempt(
    put_mail: Put, attempter: Attempter, script: Script, receiver: Receiver, action: Action
) -> None:
    script.on(Stage.DOT, action, times=1)
    message_ids = [await put_mail() for _ in range(5)]
    await attempted(attempter, message_ids)

    attempts = [attempt for made in (await list_attempts(message_ids)).values() for attempt in made]
    doubtful = [attempt for attempt in attempts if attempt.in_doubt]
    assert (await states(message_ids)).count(["sent"]) == len(receiver.mails)
    assert (await states(message_ids)).count(["deferred"]) == 5 - len(receiver.mails)
    assert isinstance(action, Drop) is bool(doubtful)
    assert await numbers(message_ids) == [1] * 5


async def test_with_no_reconnects_who_was_behind_goes_again_all_the_same(
    put_mail: Put, make_attempter: MakeAttempter, script: Script, receiver: Receiver
) -> None:
    script.on(Stage.DOT, Answer("421 4.3.2 bye"), times=1)
    attempter = make_attempter()
    attempter._reconnects = 0
    message_ids = [await put_mail() for _ in range(3)]
    await attempted(attempter, message_ids)
    assert sorted(state for (state,) in await states(message_ids)) == ["deferred", "sent", "sent"]
    assert len(receiver.mails) == 2


async def test_cancelled_behind_another_a_mail_is_given_back(
    put_mail: Put, attempter: Attempter, script: Script, receiver: Receiver
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer), times=1)
    message_ids = [await put_mail() for _ in range(3)]
    attempts = [asyncio.create_task(attempter.attempt(message_id)) for message_id in message_ids]

    async def another_is_behind() -> bool:
        return any(session.received.count(b"MAIL FROM") >= 2 for session in receiver.sessions)

    await until(another_is_behind)
    for attempt in attempts:
        attempt.cancel()
    await asyncio.gather(*attempts, return_exceptions=True)
    found = await states(message_ids)
    sent_whole = receiver.sessions[0].received.count(b"It works.")
    assert found.count(["claimed"]) == sent_whole, "the server may have these"
    assert found.count(["queued"]) == 3 - sent_whole
    for message_id, state in zip(message_ids, found, strict=True):
        row = await message_row(message_id)
        assert (row["lease_owner"] is None) is (state == ["queued"])
    answer.set()


async def test_who_is_refused_is_settled_by_that_though_the_end_was_asked_for_before(
    put_mail: Put, attempter: Attempter, script: Script, receiver: Receiver
) -> None:
    script.on(Stage.RCPT, "550 5.1.1 no such user", address="eve@example.com")
    message_ids = [await put_mail("bob@example.com", "eve@example.com", on_doubt=OnDoubt.FAIL) for _ in range(4)]
    await attempted(attempter, message_ids)
    assert await states(message_ids) == [["sent", "failed"]] * 4
    details = [
        recipient.detail for recipients in (await list_recipients(message_ids)).values() for recipient in recipients
    ]
    assert not any(detail and detail.startswith("Uncertain") for detail in details)

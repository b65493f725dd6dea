"""One attempt in several transactions: many recipients, and new connections, on both databases."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.clock import now
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.inbox.receiver import Action, Answer, Drop, Hang, Raw, Receiver, Script, Stage, Wait
from app.outbound.guard import LOOPBACK, Guard
from app.queue.claim import claim_message
from app.queue.lookup import list_attempts, list_recipients
from app.queue.settle import settle
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.smtp.pool import Pool
from app.smtp.server import Encryption, Server, Timeouts
from tests.delivery.conftest import Put
from tests.factories import count, message_row, recipient_states

SEVEN = [f"r{number}@example.com" for number in range(7)]
BUSY = Answer("421 4.3.2 closing")
MakeAttempter = Callable[..., Attempter]


@pytest.fixture
def make_attempter(pool: Pool, wakeup: Wakeup) -> MakeAttempter:
    def make(*, max_recipients: int = 3, reconnects: int = 2, timeouts: Timeouts | None = None) -> Attempter:
        def resolve(service: Service) -> Server:
            assert service.host is not None
            assert service.port is not None
            server = Server(service.host, service.port, Encryption.NONE, "client.example", guard=Guard(LOOPBACK))
            return replace(server, timeouts=timeouts or Timeouts())

        retry, lease = RetryPolicy((30,), 0, 3600), LeasePolicy(60, 3600, 0.01)
        return Attempter(
            new_key(), pool, resolve, retry, lease, wakeup, max_recipients=max_recipients, reconnects=reconnects
        )

    return make


@pytest.fixture
def attempter(make_attempter: MakeAttempter) -> Attempter:
    return make_attempter()


async def test_more_recipients_than_fit_go_out_in_several_transactions(
    put_mail: Put, attempter: Attempter, receiver: Receiver
) -> None:
    message_id = await put_mail(*SEVEN)
    await attempter.attempt(message_id)

    assert [mail.recipients for mail in receiver.mails] == [(*SEVEN[:3],), (*SEVEN[3:6],), (*SEVEN[6:],)]
    assert {mail.content for mail in receiver.mails} == {b"Subject: Hello\r\n\r\nIt works.\r\n"}
    assert [session.mails for session in receiver.sessions] == [3]
    assert await recipient_states(message_id) == ["sent"] * 7
    assert (await message_row(message_id))["state"] == "sent"


async def test_a_service_says_how_many_recipients_a_transaction_may_have(
    put_mail: Put, attempter: Attempter, receiver: Receiver, service: Service
) -> None:
    await Service.filter(id=service.id).update(max_recipients_per_transaction=5)
    await attempter.attempt(await put_mail(*SEVEN))
    assert [mail.recipients for mail in receiver.mails] == [(*SEVEN[:5],), (*SEVEN[5:],)]


async def test_each_part_is_settled_before_the_next_one_begins(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script, wakeup: Wakeup
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer), after=1)
    message_id = await put_mail(*SEVEN)
    with wakeup.watching(message_id) as changed:
        attempting = asyncio.create_task(attempter.attempt(message_id))
        async with asyncio.timeout(20):
            while (await recipient_states(message_id))[0] != "sent":
                await changed.wait()
                changed.clear()
    assert await recipient_states(message_id) == ["sent"] * 3 + ["claimed"] * 4
    row = await message_row(message_id)
    assert (row["state"], row["lease_owner"] is None) == ("sending", False)
    answer.set()
    await attempting
    assert await recipient_states(message_id) == ["sent"] * 7


async def test_every_part_has_a_fate_of_its_own(put_mail: Put, attempter: Attempter, script: Script) -> None:
    script.on(Stage.RCPT, "550 5.1.1 no such user", address=SEVEN[1])
    script.on(Stage.DOT, "451 4.3.0 not now", after=1, times=1)
    message_id = await put_mail(*SEVEN)
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["sent", "failed", "sent", *["deferred"] * 3, "sent"]
    row = await message_row(message_id)
    assert (row["state"], row["lease_owner"]) == ("deferred", None)


async def test_a_part_in_doubt_does_not_keep_the_others(put_mail: Put, attempter: Attempter, script: Script) -> None:
    script.on(Stage.ACCEPTED, Drop(), times=1)
    message_id = await put_mail(*SEVEN)
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["deferred"] * 3 + ["sent"] * 4
    attempts = [attempt for (attempt,) in (await list_attempts([message_id])).values()]
    assert sorted(attempt.in_doubt for attempt in attempts) == [False] * 4 + [True] * 3


async def test_no_part_is_sent_after_the_lease_was_lost(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail(*SEVEN)
    attempting = asyncio.create_task(attempter.attempt(message_id))
    async with asyncio.timeout(20):
        while not any(b"\r\n.\r\n" in session.received for session in receiver.sessions):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await claim_message(new_key(), message_id, now() + timedelta(minutes=10), 60)
    answer.set()
    await attempting

    assert len(receiver.mails) == 1
    assert await recipient_states(message_id) == ["claimed"] * 7


async def test_a_server_that_is_not_there_is_asked_once_for_all_parts(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    script.on(Stage.GREETING, "554 5.7.1 go away")
    message_id = await put_mail(*SEVEN)
    await attempter.attempt(message_id)

    assert len(receiver.sessions) == 1
    assert await recipient_states(message_id) == ["deferred"] * 7


async def test_cancelled_between_two_parts_the_rest_is_given_back(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    script.on(Stage.GREETING, "220 hello", times=1).on(Stage.GREETING, Hang())
    script.on(Stage.ACCEPTED, Answer("250 2.0.0 taken", close=True))
    message_id = await put_mail(*SEVEN)
    attempting = asyncio.create_task(attempter.attempt(message_id))
    async with asyncio.timeout(20):
        while len(receiver.sessions) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    attempting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempting

    recipients = (await list_recipients([message_id]))[message_id]
    assert [(r.state, r.attempt_number) for r in recipients] == [("sent", 1)] * 3 + [("queued", 0)] * 4
    assert len(receiver.mails) == 1


async def test_cancelled_while_a_part_is_settled_the_rest_is_given_back(
    put_mail: Put, attempter: Attempter, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def settle_and_be_stopped(*given: Any, **named: Any) -> bool:
        attempting.cancel()
        return await settle(*given, **named)

    monkeypatch.setattr("app.delivery.settling.settle", settle_and_be_stopped)
    message_id = await put_mail(*SEVEN)
    attempting = asyncio.create_task(attempter.attempt(message_id))
    with pytest.raises(asyncio.CancelledError):
        await attempting

    recipients = (await list_recipients([message_id]))[message_id]
    assert [(r.state, r.attempt_number) for r in recipients] == [("sent", 1)] * 3 + [("queued", 0)] * 4
    assert (await message_row(message_id))["lease_owner"] is None
    assert len(receiver.mails) == 1


async def test_cancelled_before_a_part_is_settled_nothing_is_given_back(
    put_mail: Put, attempter: Attempter, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def be_stopped_and_fail(*_: Any, **__: Any) -> bool:
        attempting.cancel()
        raise TimeoutError

    monkeypatch.setattr("app.delivery.settling.settle", be_stopped_and_fail)
    message_id = await put_mail(*SEVEN)
    attempting = asyncio.create_task(attempter.attempt(message_id))
    with pytest.raises(asyncio.CancelledError):
        await attempting

    assert await recipient_states(message_id) == ["claimed"] * 7, "three of them have the mail"
    assert len(receiver.mails) == 1


async def test_who_does_not_fit_into_a_transaction_goes_in_the_next(
    put_mail: Put, make_attempter: MakeAttempter, receiver: Receiver, script: Script
) -> None:
    for late in SEVEN[4:]:
        script.on(Stage.RCPT, "452 4.5.3 Too many recipients", address=late, times=1)
    script.on(Stage.RCPT, "452 4.2.2 Mailbox full", address=SEVEN[0])
    message_id = await put_mail(*SEVEN)
    await make_attempter(max_recipients=100).attempt(message_id)

    assert [mail.recipients for mail in receiver.mails] == [(*SEVEN[1:4],), (*SEVEN[4:],)]
    assert await recipient_states(message_id) == ["deferred", *["sent"] * 6]
    assert await count("attempt") == 7


async def test_a_server_without_room_for_anybody_is_not_asked_in_a_circle(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    script.on(Stage.RCPT, "452 4.5.3 Too many recipients")
    message_id = await put_mail("bob@example.com", "eve@example.com")
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["deferred"] * 2
    assert receiver.sessions[0].verbs.count("MAIL") == 1


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT])
async def test_421_leads_to_a_new_connection_within_the_same_attempt(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script, stage: Stage
) -> None:
    script.on(Stage.RCPT, "550 5.1.1 no such user", address="bob@example.com")
    script.on(stage, BUSY, address="eve@example.com" if stage is Stage.RCPT else None, times=1)
    message_id = await put_mail("bob@example.com", "eve@example.com")
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["failed", "sent"]
    assert [mail.recipients for mail in receiver.mails] == [("eve@example.com",)]
    assert [session.mails for session in receiver.sessions] == [0, 1]
    recipients = (await list_recipients([message_id]))[message_id]
    assert [recipient.attempt_number for recipient in recipients] == [1, 1]
    assert await count("attempt") == 2


@pytest.mark.parametrize("reconnects", [0, 1, 2])
async def test_a_server_that_always_says_421_is_left_alone_after_a_while(
    put_mail: Put, make_attempter: MakeAttempter, receiver: Receiver, script: Script, reconnects: int
) -> None:
    script.on(Stage.MAIL, BUSY)
    message_id = await put_mail()
    await make_attempter(reconnects=reconnects).attempt(message_id)

    assert len(receiver.sessions) == 1 + reconnects
    (recipient,) = (await list_recipients([message_id]))[message_id]
    assert (recipient.state, recipient.attempt_number) == ("deferred", 1)
    assert recipient.reply is not None
    assert recipient.reply.code == 421


async def test_421_after_so_many_mails_on_one_connection_holds_up_none(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    script.on(Stage.MAIL, Answer("421 4.7.0 Too many messages on this connection"), after=2)
    messages = [await put_mail() for _ in range(5)]
    for message_id in messages:
        await attempter.attempt(message_id)

    assert [await recipient_states(message_id) for message_id in messages] == [["sent"]] * 5
    assert [session.mails for session in receiver.sessions] == [2, 2, 1]


async def test_a_warm_connection_that_the_server_gave_up_is_replaced(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    script.on(Stage.MAIL, Drop(), after=1)
    for _ in range(2):
        message_id = await put_mail()
        await attempter.attempt(message_id)
        assert await recipient_states(message_id) == ["sent"]
    assert [session.mails for session in receiver.sessions] == [1, 1]


@pytest.mark.parametrize(
    ("stage", "action"),
    [
        (Stage.MAIL, Raw(b"250 one\r\n250 one too many\r\n")),
        (Stage.RCPT, Hang()),
        (Stage.RCPT, Drop()),
        (Stage.RCPT, Raw(b"503 5.5.1 MAIL first\r\n")),
        (Stage.DATA, Raw(b"250 what for\r\n")),
    ],
)
async def test_a_server_that_cannot_pipeline_after_all_is_sent_one_command_at_a_time(
    put_mail: Put, make_attempter: MakeAttempter, receiver: Receiver, script: Script, stage: Stage, action: Action
) -> None:
    script.on(stage, action, times=1)
    attempter = make_attempter(timeouts=Timeouts(rcpt=1) if isinstance(action, Hang) else None)
    message_id = await put_mail()
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["sent"]
    assert len(receiver.mails) == 1
    assert len(receiver.sessions) == 2


async def test_what_is_in_doubt_is_never_tried_again_at_once(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    script.on(Stage.ACCEPTED, Drop())
    message_id = await put_mail()
    await attempter.attempt(message_id)

    assert (len(receiver.sessions), len(receiver.mails)) == (1, 1)
    assert await recipient_states(message_id) == ["deferred"]

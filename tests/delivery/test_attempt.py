"""One attempt, against a real server and both databases, and everything that can come between its steps."""

import asyncio
import logging
from datetime import timedelta
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import execute
from app.delivery.attempt import Attempter
from app.inbox.receiver import Drop, Hang, Receiver, Script, Stage, Wait
from app.queue.lookup import StoredRecipient, list_attempts, list_recipients
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.services.circuit import Circuit, read_circuits
from app.services.models import Service
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.server import Server
from tests.delivery.conftest import MakeAttempter, Put, looks, taken_over, until
from tests.factories import count, message_row, recipient_states

LOGGER = "app.delivery.attempt"


async def only_recipient(message_id: UUID) -> StoredRecipient:
    (recipient,) = (await list_recipients([message_id]))[message_id]
    return recipient


async def is_given_back_when_cancelled(attempting: asyncio.Task[bool], message_id: UUID) -> None:
    attempting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempting

    recipient = await only_recipient(message_id)
    assert (recipient.state, recipient.attempt_number) == ("queued", 0)
    assert (await message_row(message_id))["lease_owner"] is None


async def open_circuits() -> list[Circuit]:
    services = await Service.all()
    return list((await read_circuits([service.id for service in services])).values())


async def test_a_mail_is_sent_and_settled(put_mail: Put, attempter: Attempter, receiver: Receiver) -> None:
    message_id = await put_mail("bob@example.com", "eve@example.com")
    await attempter.attempt(message_id)

    assert [mail.recipients for mail in receiver.mails] == [("bob@example.com", "eve@example.com")]
    assert [mail.content for mail in receiver.mails] == [b"Subject: Hello\r\n\r\nIt works.\r\n"]
    assert await recipient_states(message_id) == ["sent", "sent"]
    attempts = await list_attempts([message_id])
    assert [[a.outcome for a in of_recipient] for of_recipient in attempts.values()] == [["sent"], ["sent"]]


async def test_connections_are_kept_warm(put_mail: Put, attempter: Attempter, receiver: Receiver) -> None:
    for _ in range(3):
        await attempter.attempt(await put_mail())
    assert [session.mails for session in receiver.sessions] == [3]


async def test_each_recipient_is_settled_by_its_own_reply(put_mail: Put, attempter: Attempter, script: Script) -> None:
    script.on(Stage.RCPT, "550 5.1.1 no such user", address="bob@example.com")
    script.on(Stage.RCPT, "450 4.2.1 busy", address="eve@example.com")
    message_id = await put_mail("ann@example.com", "bob@example.com", "eve@example.com")
    before = now()
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["sent", "failed", "deferred"]
    row = await message_row(message_id)
    assert row["state"] == "deferred"
    assert before + timedelta(seconds=24) <= row["due_at"] <= now() + timedelta(seconds=36)


async def test_those_who_watch_the_message_are_told(put_mail: Put, attempter: Attempter, wakeup: Wakeup) -> None:
    message_id = await put_mail()
    with wakeup.watching(message_id) as changed:
        await attempter.attempt(message_id)
        assert changed.is_set()


async def test_the_engine_looks_again_unless_all_of_the_message_is_settled(
    put_mail: Put, attempter: Attempter, script: Script, wakeup: Wakeup
) -> None:
    await attempter.attempt(await put_mail())
    assert not await looks(wakeup)

    script.on(Stage.RCPT, "450 4.2.1 busy", address="eve@example.com", times=1)
    message_id = await put_mail("bob@example.com", "eve@example.com")
    await attempter.attempt(message_id)
    assert await looks(wakeup), "a fallback may take it at once"

    await execute("UPDATE recipient SET due_at = $2 WHERE message_id = $1 AND state = 'deferred'", message_id, now())
    await execute("UPDATE message SET due_at = $2 WHERE id = $1", message_id, now())
    await attempter.attempt(message_id)
    assert await recipient_states(message_id) == ["sent", "sent"]
    assert await looks(wakeup), "somebody may have made others due meanwhile"


async def test_a_message_that_another_worker_holds_is_left_alone(
    put_mail: Put, attempter: Attempter, receiver: Receiver
) -> None:
    message_id = await put_mail()
    held = await taken_over(message_id)
    await attempter.attempt(message_id)

    assert receiver.sessions == []
    assert (await message_row(message_id))["fence"] == held.fence


async def test_a_server_that_is_not_there_costs_the_mail_no_attempt(
    put_mail: Put, attempter: Attempter, receiver: Receiver
) -> None:
    await receiver.stop()
    message_id = await put_mail()
    await attempter.attempt(message_id)

    recipient = await only_recipient(message_id)
    assert (recipient.state, recipient.attempt_number, recipient.reply) == ("deferred", 0, None)
    assert await count("attempt") == 0
    assert recipient.detail is not None
    assert recipient.detail.startswith("Connection refused")


async def test_a_server_that_is_not_there_fails_the_mail_whose_verdict_is_awaited(
    put_mail: Put, attempter: Attempter, receiver: Receiver
) -> None:
    await receiver.stop()
    message_id = await put_mail(verdict_awaited=True)
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["failed"]
    assert await count("circuit") == 1


async def test_a_connection_lost_after_the_dot_is_in_doubt(put_mail: Put, attempter: Attempter, script: Script) -> None:
    script.on(Stage.ACCEPTED, Drop())
    message_id = await put_mail()
    await attempter.attempt(message_id)

    recipient = await only_recipient(message_id)
    (attempt,) = (await list_attempts([message_id]))[recipient.id]
    assert (attempt.outcome, attempt.phase, attempt.in_doubt) == ("deferred", "dot", True)


async def test_a_service_that_cannot_be_resolved_settles_with_the_reason(
    put_mail: Put, make_attempter: MakeAttempter, receiver: Receiver
) -> None:
    def sealed(_: Service) -> Server:
        raise SmtpFailure(Failure(Phase.AUTH, Cause.AUTHENTICATION, "Authentication failed: it cannot be unsealed."))

    message_id = await put_mail()
    await make_attempter(sealed).attempt(message_id)

    recipient = await only_recipient(message_id)
    assert (recipient.state, recipient.detail) == ("deferred", "Authentication failed: it cannot be unsealed.")
    assert recipient.attempt_number == 0
    assert (await open_circuits())[0].reason == recipient.detail
    assert receiver.sessions == []


async def test_an_unexpected_error_is_settled_like_a_failure_and_logged_with_its_id(
    put_mail: Put, make_attempter: MakeAttempter, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Service) -> Server:
        raise ZeroDivisionError("canary")

    message_id = await put_mail()
    await make_attempter(broken).attempt(message_id)

    recipient = await only_recipient(message_id)
    assert (recipient.state, await count("attempt")) == (RecipientState.DEFERRED, 1)
    assert recipient.detail is not None
    assert "canary" not in recipient.detail
    assert recipient.detail.removesuffix(".").rpartition(" ")[2] in caplog.text
    assert await count("circuit") == 0


async def test_trouble_of_the_database_before_anything_is_sent_costs_no_attempt(
    put_mail: Put, make_attempter: MakeAttempter
) -> None:
    def unreachable(_: Service) -> Server:
        raise TimeoutError

    message_id = await put_mail()
    await make_attempter(unreachable).attempt(message_id)

    recipient = await only_recipient(message_id)
    assert (recipient.state, recipient.attempt_number) == (RecipientState.QUEUED, 0)
    assert await count("attempt") == 0


@pytest.mark.parametrize("stage", [Stage.GREETING, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA])
async def test_cancelled_before_the_final_dot_the_claim_is_given_back(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script, stage: Stage
) -> None:
    script.on(stage, Hang())
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await until(lambda: _is(message_id, "sending"))
    await until(lambda: _came_to(receiver, stage))
    await is_given_back_when_cancelled(attempting, message_id)


async def test_cancelled_after_the_final_dot_the_lease_is_left_to_run_out(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    script.on(Stage.DOT, Hang())
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await until(lambda: _got_the_dot(receiver))
    attempting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempting

    assert await recipient_states(message_id) == ["claimed"]
    row = await message_row(message_id)
    assert row["lease_until"] > now()
    assert await count("attempt") == 0


async def test_cancelled_before_the_next_final_dot_after_421_the_claim_is_given_back(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script
) -> None:
    """The server did not take the mail, though its end was sent once."""
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer)).on(Stage.DOT, "421 4.3.2 bye")
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await until(lambda: _got_the_dot(receiver))
    script.on(Stage.GREETING, Hang())
    answer.set()
    await until(lambda: _is_open_twice(receiver))
    await is_given_back_when_cancelled(attempting, message_id)


async def test_no_log_line_holds_an_address_or_a_subject(
    put_mail: Put, attempter: Attempter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    await attempter.attempt(await put_mail())

    assert "1 sent" in caplog.text
    assert "example.com" not in caplog.text
    assert "Hello" not in caplog.text


async def _is(message_id: UUID, state: str) -> bool:
    return bool((await message_row(message_id))["state"] == state)


async def _came_to(receiver: Receiver, stage: Stage) -> bool:
    return any(stage is Stage.GREETING or stage.value.upper() in session.verbs for session in receiver.sessions)


async def _is_open_twice(receiver: Receiver) -> bool:
    return len(receiver.sessions) == 2


async def _got_the_dot(receiver: Receiver) -> bool:
    return any(b"\r\n.\r\n" in session.received for session in receiver.sessions)

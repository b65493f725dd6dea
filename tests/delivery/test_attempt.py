"""One attempt, against a real server and both databases, and everything that can come between its steps."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import execute
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.delivery.uptime import Uptime
from app.inbox.receiver import Drop, Hang, Receiver, Script, Stage, Wait
from app.queue.claim import Claim, claim_message
from app.queue.lookup import StoredRecipient, list_attempts, list_recipients
from app.queue.settle import settle
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.services.circuit import Circuit, read_circuits
from app.services.models import Service
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.pool import Pool
from app.smtp.server import Encryption, Server
from tests.delivery.conftest import Put, WritesRefused
from tests.factories import count, message_row, recipient_states

NEVER = 3600.0
LOGGER = "app.delivery.attempt"
MakeAttempter = Callable[..., Attempter]


def plain_server(service: Service) -> Server:
    assert service.host is not None
    assert service.port is not None
    return Server(service.host, service.port, Encryption.NONE, "client.example")


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(max_connections=5, max_messages=100, idle_limit=25, noop_after=5)
    yield pool
    await pool.close()


@pytest.fixture
def make_attempter(pool: Pool, wakeup: Wakeup) -> MakeAttempter:
    def make(
        resolve: Callable[[Service], Server] = plain_server, *, renewal: float = NEVER, uptime: Uptime | None = None
    ) -> Attempter:
        retry, lease = RetryPolicy((30,), 0.2, 3600), LeasePolicy(60, renewal, 0.01)
        return Attempter(new_key(), pool, resolve, retry, lease, wakeup, uptime=uptime)

    return make


@pytest.fixture
def attempter(make_attempter: MakeAttempter) -> Attempter:
    return make_attempter()


async def only_recipient(message_id: UUID) -> StoredRecipient:
    (recipient,) = (await list_recipients([message_id]))[message_id]
    return recipient


async def open_circuits() -> list[Circuit]:
    services = await Service.all()
    return list((await read_circuits([service.id for service in services])).values())


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)


async def said(receiver: Receiver, verb: str) -> None:
    """Wait until a client has said this command."""

    async def heard() -> bool:
        return any(verb in session.verbs for session in receiver.sessions)

    await until(heard)


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async def found() -> bool:
        return text in caplog.text

    await until(found)


async def taken_over(message_id: UUID) -> Claim:
    """Another worker claims the message, once the lease has ended."""
    claim = await claim_message(new_key(), message_id, now() + timedelta(minutes=10), 60)
    assert claim is not None
    return claim


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
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["sent", "failed", "deferred"]
    row = await message_row(message_id)
    assert row["state"] == "deferred"
    assert timedelta(seconds=23) < row["due_at"] - now() < timedelta(seconds=37)


async def test_those_who_watch_the_message_are_told(put_mail: Put, attempter: Attempter, wakeup: Wakeup) -> None:
    message_id = await put_mail()
    with wakeup.watching(message_id) as changed:
        await attempter.attempt(message_id)
        assert changed.is_set()


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


async def test_a_result_that_no_statement_takes_is_kept_until_one_does(
    put_mail: Put, attempter: Attempter, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0

    async def stubborn(*args: Any, **options: Any) -> bool:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise ZeroDivisionError
        return await settle(*args, **options)

    monkeypatch.setattr("app.delivery.attempt.settle", stubborn)
    message_id = await put_mail()
    await attempter.attempt(message_id)

    assert await recipient_states(message_id) == ["sent"]
    assert (len(receiver.mails), refused) == (1, 2)


async def test_a_result_that_comes_after_the_lease_was_lost_is_discarded(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    other = await taken_over(message_id)
    answer.set()
    await attempting

    assert "result discarded, the lease was lost" in caplog.text
    row = await message_row(message_id)
    assert (row["state"], row["fence"]) == ("sending", other.fence)
    assert [a.outcome for found in (await list_attempts([message_id])).values() for a in found] == ["queued"]


async def test_after_an_outage_longer_than_the_lease_who_knows_the_result_goes_first(
    put_mail: Put, attempter: Attempter, make_attempter: MakeAttempter, receiver: Receiver, script: Script
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    ended = now() - timedelta(seconds=1)
    await execute("UPDATE message SET lease_until = $2, due_at = $2 WHERE id = $1", message_id, ended)
    await make_attempter(uptime=Uptime(NEVER)).attempt(message_id)
    answer.set()
    await attempting

    assert await recipient_states(message_id) == ["sent"]
    assert (len(receiver.mails), (await message_row(message_id))["fence"]) == (1, 1)


async def test_the_lease_is_renewed_for_as_long_as_it_takes(
    put_mail: Put, make_attempter: MakeAttempter, receiver: Receiver, script: Script
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(make_attempter(renewal=0.01).attempt(message_id))
    await said(receiver, "DATA")
    first = (await message_row(message_id))["lease_until"]
    await until(lambda: _lease_is_later(message_id, first))
    answer.set()
    await attempting

    assert await recipient_states(message_id) == ["sent"]


async def test_the_lease_is_renewed_again_after_database_trouble(
    put_mail: Put,
    make_attempter: MakeAttempter,
    receiver: Receiver,
    script: Script,
    writes_refused: WritesRefused,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(make_attempter(renewal=0.01).attempt(message_id))
    await said(receiver, "DATA")
    async with writes_refused():
        await logged(caplog, "lease not renewed")
    before = (await message_row(message_id))["lease_until"]
    await until(lambda: _lease_is_later(message_id, before))
    answer.set()
    await attempting

    assert await recipient_states(message_id) == ["sent"]


async def test_a_result_is_written_once_the_database_lets_it(
    put_mail: Put,
    attempter: Attempter,
    receiver: Receiver,
    script: Script,
    writes_refused: WritesRefused,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = asyncio.Event()
    script.on(Stage.DOT, Wait(answer))
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await said(receiver, "DATA")
    async with writes_refused():
        answer.set()
        await logged(caplog, "not written yet")
    await attempting

    assert await recipient_states(message_id) == ["sent"]
    assert (len(receiver.mails), await count("attempt")) == (1, 1)


@pytest.mark.parametrize("stage", [Stage.GREETING, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA])
async def test_cancelled_before_the_final_dot_the_claim_is_given_back(
    put_mail: Put, attempter: Attempter, receiver: Receiver, script: Script, stage: Stage
) -> None:
    script.on(stage, Hang())
    message_id = await put_mail()
    attempting = asyncio.create_task(attempter.attempt(message_id))
    await until(lambda: _is(message_id, "sending"))
    await until(lambda: _came_to(receiver, stage))
    attempting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempting

    recipient = await only_recipient(message_id)
    assert (recipient.state, recipient.attempt_number) == ("queued", 0)
    assert (await message_row(message_id))["lease_owner"] is None


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


async def test_no_log_line_holds_an_address_or_a_subject(
    put_mail: Put, attempter: Attempter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    await attempter.attempt(await put_mail())

    assert "1 sent" in caplog.text
    assert "example.com" not in caplog.text
    assert "Hello" not in caplog.text


async def _lease_is_later(message_id: UUID, than: object) -> bool:
    return bool((await message_row(message_id))["lease_until"] > than)


async def _is(message_id: UUID, state: str) -> bool:
    return bool((await message_row(message_id))["state"] == state)


async def _came_to(receiver: Receiver, stage: Stage) -> bool:
    return any(stage is Stage.GREETING or stage.value.upper() in session.verbs for session in receiver.sessions)


async def _got_the_dot(receiver: Receiver) -> bool:
    return any(session.received.endswith(b"\r\n.\r\n") for session in receiver.sessions)

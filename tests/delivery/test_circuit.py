"""What is wrong with a server opens its circuit; once it is right again, everything leaves, with attempt 1."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import UUID

import pytest
import trustme

from app.clock import now
from app.database.connection import execute
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.inbox.receiver import Receiver, Script, Stage
from app.outbound.guard import LOOPBACK, Guard
from app.queue.lookup import list_attempts, list_recipients
from app.queue.wakeup import Wakeup
from app.services.circuit import Circuit, CircuitPolicy, read_circuits
from app.services.models import Service
from app.smtp.pool import Pool
from app.smtp.server import Credentials, Encryption, Server
from tests.delivery.conftest import Put
from tests.factories import count

HOUR = 3600.0
Resolve = Callable[[Service], Server]


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(max_connections=5, max_messages=100, idle_limit=25, noop_after=5, auth_interval=0)
    yield pool
    await pool.close()


def server_of(service: Service) -> Server:
    assert service.host is not None
    assert service.port is not None
    return Server(service.host, service.port, Encryption.NONE, "client.example", guard=Guard(LOOPBACK))


def with_password(service: Service) -> Server:
    return replace(server_of(service), credentials=Credentials("ada", "secret"))


def with_starttls(service: Service) -> Server:
    return replace(server_of(service), encryption=Encryption.TLS)


def make_attempter(pool: Pool, resolve: Resolve) -> Attempter:
    retry, lease, circuit = RetryPolicy((30,), 0, HOUR), LeasePolicy(60, HOUR, 0.01), CircuitPolicy(HOUR, HOUR)
    return Attempter(new_key(), pool, resolve, retry, lease, Wakeup(), circuit=circuit)


async def circuit_of(service: Service) -> Circuit | None:
    return (await read_circuits([service.id])).get(service.id)


async def numbers(message_ids: list[UUID]) -> list[int]:
    """The number of every attempt that counted."""
    found = await list_attempts(message_ids)
    return [attempt.number for attempts in found.values() for attempt in attempts]


WRONG: dict[str, tuple[Resolve, str, str]] = {
    "not there": (server_of, "Connection refused", ""),
    "says 554": (server_of, "554", "554 5.3.2 go away"),
    "says 421": (server_of, "421", "421 4.3.2 busy"),
    "wrong password": (with_password, "Authentication failed (535", "535 5.7.8 no"),
    "no AUTH for now": (with_password, "Authentication failed (454", "454 4.7.0 later"),
    "no AUTH offered": (with_password, "Authentication failed", ""),
    "no STARTTLS offered": (with_starttls, "Certificate error", ""),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_whatever_is_wrong_with_the_server_one_mail_finds_out_and_all_leave_once_it_is_right(
    wrong: str, service: Service, put_mail: Put, pool: Pool
) -> None:
    resolve, reason, reply = WRONG[wrong]
    stage = Stage.AUTH if resolve is with_password else Stage.GREETING
    script = Script().on(stage, reply, times=1) if reply else Script()
    credentials = {"ada": "secret"} if reply and resolve is with_password else None
    async with Receiver(script=script, credentials=credentials, keep=True) as broken:
        if wrong == "not there":
            await broken.stop()
        await _lead(service, broken)
        attempter = make_attempter(pool, resolve)
        message_ids = [await put_mail() for _ in range(4)]
        for message_id in message_ids:
            await attempter.attempt(message_id)

        circuit = await circuit_of(service)
        assert circuit is not None
        assert circuit.reason.startswith(reason)
        assert len(broken.sessions) == (0 if wrong == "not there" else 1)
        assert broken.mails == []
        found = await list_recipients(message_ids)
        recipients = [recipient for message_id in message_ids for recipient in found[message_id]]
        assert [(r.state, r.attempt_number) for r in recipients] == [("deferred", 0)] + [("queued", 0)] * 3
        assert [r.detail for r in recipients] == [circuit.reason, None, None, None]

    async with Receiver(credentials={"ada": "secret"} if resolve is with_password else None, keep=True) as right:
        await _lead(service, right)
        await execute("UPDATE circuit SET probe_at = $1", now())
        fixed = make_attempter(pool, server_of if resolve is with_starttls else resolve)
        for message_id in message_ids:
            await fixed.attempt(message_id)
        assert len(right.mails) == 4
    assert await circuit_of(service) is None
    assert await numbers(message_ids) == [1, 1, 1, 1]


async def test_a_certificate_that_is_not_trusted_opens_the_circuit(service: Service, put_mail: Put, pool: Pool) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with Receiver(tls=context, keep=True) as receiver:
        await _lead(service, receiver)
        await make_attempter(pool, with_starttls).attempt(await put_mail())

    circuit = await circuit_of(service)
    assert circuit is not None
    assert circuit.reason.startswith("Certificate error")
    assert await count("attempt") == 0


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT])
async def test_what_a_server_says_of_a_mail_opens_nothing(
    stage: Stage, service: Service, put_mail: Put, pool: Pool, script: Script
) -> None:
    script.on(stage, "421 4.3.2 closing")
    message_id = await put_mail()
    await make_attempter(pool, server_of).attempt(message_id)

    assert await count("circuit") == 0
    assert await numbers([message_id]) == [1]


async def test_a_single_wrong_password_makes_one_auth_however_many_try_it_at_once(
    service: Service, put_mail: Put, pool: Pool
) -> None:
    async with Receiver(credentials={"ada": "another"}, keep=True) as receiver:
        await _lead(service, receiver)
        await execute("INSERT INTO circuit (service_id, probe_at, auth_after) VALUES ($1, $2, $2)", service.id, now())
        message_ids = [await put_mail() for _ in range(20)]
        workers = [make_attempter(pool, with_password) for _ in range(2)]
        await asyncio.gather(
            *(workers[number % 2].attempt(message_id) for number, message_id in enumerate(message_ids))
        )
        assert [session.verbs.count("AUTH") for session in receiver.sessions] == [1]
    assert await count("attempt") == 0


async def test_a_first_part_that_was_sent_stays_sent_when_the_server_goes_away(
    service: Service, put_mail: Put, pool: Pool, receiver: Receiver, script: Script
) -> None:
    """A mail in two transactions: what the second one meets is no attempt at the recipients of the first."""
    script.on(Stage.MAIL, "421 4.3.2 closing", after=1)
    attempter = Attempter(
        new_key(),
        pool,
        server_of,
        RetryPolicy((30,), 0, HOUR),
        LeasePolicy(60, HOUR, 0.01),
        Wakeup(),
        max_recipients=1,
        reconnects=1,
        circuit=CircuitPolicy(HOUR, HOUR),
    )
    message_id = await put_mail("a@example.com", "b@example.com")
    closing = asyncio.create_task(_close_after(receiver, 1))
    await attempter.attempt(message_id)
    await closing

    recipients = (await list_recipients([message_id]))[message_id]
    assert [(r.state, r.attempt_number) for r in recipients] == [("sent", 1), ("deferred", 0)]
    assert await circuit_of(service) is not None


async def _close_after(receiver: Receiver, mails: int) -> None:
    """From then on, nobody gets in; the session that there is goes on."""
    await receiver.wait_for(mails)
    receiver.script.on(Stage.GREETING, "554 5.3.2 closed")


async def _lead(service: Service, receiver: Receiver) -> None:
    await execute("UPDATE service SET host = $2, port = $3 WHERE id = $1", service.id, receiver.host, receiver.port)

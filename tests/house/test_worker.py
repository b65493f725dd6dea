"""The worker as a whole: it delivers, shows that it lives, and leaves nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import pytest

from app.access.principal import Principal
from app.clock import now
from app.database.connection import execute
from app.database.key import new_key
from app.inbox.receiver import Hang, Receiver, Script, Stage, Wait
from app.queue.claim import claim_message
from app.queue.embedded import EmbeddedEngine
from app.queue.heartbeat import beat
from app.queue.lookup import list_recipients
from app.queue.put import put
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.services.secret import Sealer
from app.settings import Settings
from app.worker import Drain, running_worker
from tests.factories import count, make_principal, make_service, message_row, new_message, recipient_states

SEALER = Sealer(["k" * 32])


class House:
    """One worker's parts on an open database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.model_copy(update={"queue_poll": 0.05, "drain_timeout": 20, "worker_heartbeat": 0.01})
        self.wakeup = Wakeup()
        self.engine = EmbeddedEngine(self.wakeup, 0.05)
        self.principal: Principal | None = None

    async def put(self, service: Service) -> UUID:
        self.principal = self.principal or await make_principal()
        receipt = await put(new_message(service, self.principal), now(), self.engine)
        return receipt.message_id


@pytest.fixture
def house(database: Settings) -> House:
    return House(database)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)


async def is_in(message_id: UUID, state: str) -> bool:
    return await recipient_states(message_id) == [state]


async def test_mail_of_a_sandbox_lands_in_the_inbox(house: House) -> None:
    message_id = await house.put(await make_service())
    async with running_worker(house.settings, SEALER, house.engine, house.wakeup):
        await until(lambda: is_in(message_id, "sent"))
    assert await count("captured_mail") == 1


async def test_it_gives_signs_of_life_until_it_leaves(house: House) -> None:
    async with running_worker(house.settings, SEALER, house.engine, house.wakeup):
        assert await count("worker") == 1
    assert await count("worker") == 0


@pytest.mark.parametrize("heartbeat", [0.01, 60])
async def test_an_idle_connection_is_closed_in_time_whatever_the_signs_of_life_do(
    heartbeat: float, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = iter([False])

    async def beat_once_then_hang(worker_id: UUID, moment: datetime) -> None:
        if next(hung, True):
            await asyncio.Event().wait()
        await beat(worker_id, moment)

    monkeypatch.setattr("app.worker.beat", beat_once_then_hang)
    house.settings = house.settings.model_copy(update={"worker_heartbeat": heartbeat, "smtp_idle_limit": 0.2})
    async with Receiver(keep=True) as receiver:
        service = await make_service("relay", kind="SMTP", host=receiver.host, port=receiver.port)
        message_id = await house.put(service)
        async with running_worker(house.settings, SEALER, house.engine, house.wakeup):
            await until(lambda: is_in(message_id, "sent"))
            await until(lambda: _said(receiver, "QUIT"))


async def test_a_password_that_cannot_be_unsealed_is_the_services_fault(house: House) -> None:
    async with Receiver(keep=True, credentials={"user": "password"}) as receiver:
        columns = {"kind": "SMTP", "host": receiver.host, "port": receiver.port, "username": "user"}
        service = await make_service("relay", **columns, clear_text_auth=True)
        service.sealed_password = Sealer(["o" * 32]).seal("password", service.id)
        await service.save()
        message_id = await house.put(service)
        async with running_worker(house.settings, SEALER, house.engine, house.wakeup):
            await until(lambda: is_in(message_id, "deferred"))
        assert receiver.sessions == []

    (recipient,) = (await list_recipients([message_id]))[message_id]
    assert recipient.detail is not None
    assert recipient.detail.startswith("Authentication failed: the stored password cannot be unsealed")


async def test_at_its_end_the_attempts_under_way_are_finished(house: House) -> None:
    go = asyncio.Event()

    async def take(_: object) -> None:
        await go.wait()

    async with Receiver(keep=True, on_mail=take) as receiver:
        service = await make_service("relay", kind="SMTP", host=receiver.host, port=receiver.port)
        message_id = await house.put(service)
        async with running_worker(house.settings, SEALER, house.engine, house.wakeup):
            await until(lambda: is_in(message_id, "claimed"))
            await until(lambda: _said(receiver, "DATA"))
            asyncio.get_running_loop().call_later(0.05, go.set)
        assert await recipient_states(message_id) == ["sent"]


async def test_attempts_that_take_too_long_are_released_where_the_server_cannot_have_the_mail(house: House) -> None:
    house.settings = house.settings.model_copy(update={"drain_timeout": 0.01})
    async with Receiver(keep=True, script=Script().on(Stage.DATA, Hang())) as receiver:
        service = await make_service("relay", kind="SMTP", host=receiver.host, port=receiver.port)
        message_id = await house.put(service)
        async with running_worker(house.settings, SEALER, house.engine, house.wakeup):
            await until(lambda: _said(receiver, "DATA"))
    (recipient,) = (await list_recipients([message_id]))[message_id]
    assert (recipient.state, recipient.attempt_number) == ("queued", 0)
    row = await message_row(message_id)
    assert (row["lease_owner"], row["due_at"] <= now()) == (None, True)


async def test_while_it_drains_no_attempt_is_begun(house: House) -> None:
    go = asyncio.Event()
    async with Receiver(keep=True, script=Script().on(Stage.DOT, Wait(go))) as receiver:
        service = await make_service("relay", kind="SMTP", host=receiver.host, port=receiver.port)
        first = await house.put(service)
        drain = Drain(20)
        async with running_worker(house.settings, SEALER, house.engine, house.wakeup, drain):
            await until(lambda: _got_the_dot(receiver))
            drain.begin()
            second = await house.put(service)
            house.wakeup.work_arrived()
            go.set()
            await until(lambda: is_in(first, "sent"))
        assert len(receiver.mails) == 1
    assert await recipient_states(second) == ["queued"]


async def test_attempts_that_take_too_long_are_broken_off_and_keep_their_lease(house: House) -> None:
    house.settings = house.settings.model_copy(update={"drain_timeout": 0.01})
    async with Receiver(keep=True, script=Script().on(Stage.DOT, Hang())) as receiver:
        service = await make_service("relay", kind="SMTP", host=receiver.host, port=receiver.port)
        message_id = await house.put(service)
        async with running_worker(house.settings, SEALER, house.engine, house.wakeup):
            await until(lambda: _got_the_dot(receiver))
    row = await message_row(message_id)
    assert (row["state"], row["lease_until"] > now()) == ("sending", True)
    assert await count("worker") == 0


async def test_a_lost_attempt_at_mail_of_an_inactive_service_is_ended(house: House) -> None:
    often = {"recover_interval": 0.01, "lease": 1, "lease_renewal": 0.01, "max_crashes": 1}
    house.settings = house.settings.model_copy(update=often)
    service = await make_service()
    message_id = await house.put(service)
    assert await claim_message(new_key(), message_id, now(), 0) is not None
    await execute("UPDATE service SET is_active = $1 WHERE id = $2", False, service.id)
    async with running_worker(house.settings, SEALER, house.engine, house.wakeup):
        await until(lambda: is_in(message_id, "failed"))


async def _got_the_dot(receiver: Receiver) -> bool:
    return any(b"\r\n.\r\n" in session.received for session in receiver.sessions)


async def _said(receiver: Receiver, verb: str) -> bool:
    return any(verb in session.verbs for session in receiver.sessions)

"""Delivery as a whole: services come and go, trouble comes and goes, and nobody has to restart anything."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import close_database, execute, open_database
from app.delivery.loop import Attempt, run_delivery
from app.delivery.uptime import Uptime
from app.queue.embedded import EmbeddedEngine
from app.queue.pause import pause_service, resume_service
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from tests.delivery.conftest import Put
from tests.factories import make_service


class NotingEngine(EmbeddedEngine):
    """Notes what it is told of services."""

    def __init__(self) -> None:
        super().__init__(Wakeup(), poll=0.05)
        self.told: list[Mapping[UUID, int]] = []
        self.ahead: Mapping[UUID, int] = {}

    def places_ahead(self, places: Mapping[UUID, int]) -> None:
        self.ahead = places
        super().places_ahead(places)

    def services_changed(self, caps: Mapping[UUID, int]) -> None:
        self.told.append(caps)
        super().services_changed(caps)

    async def until_told(self, *services: Service) -> None:
        await self.until({service.id: 3 for service in services})

    async def until(self, expected: Mapping[UUID, int]) -> None:
        async with asyncio.timeout(20):
            while not self.told or self.told[-1] != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def until_ahead(self, expected: Mapping[UUID, int]) -> None:
        async with asyncio.timeout(20):
            while self.ahead != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


class Tried(asyncio.Queue[UUID]):
    """What was to be tried; nothing is claimed."""

    async def note(self, message_id: UUID) -> bool:
        await self.put(message_id)
        return False


async def nothing(message_id: UUID) -> bool:
    raise AssertionError(f"there is no mail to try: {message_id}")


@asynccontextmanager
async def delivering(
    engine: EmbeddedEngine, attempt: Attempt = nothing, uptime: Uptime | None = None, *, ahead: int = 0
) -> AsyncIterator[None]:
    stop = asyncio.Event()
    delivery = asyncio.create_task(
        run_delivery(
            engine,
            attempt,
            stop,
            connections_per_service=3,
            messages_ahead=ahead,
            look_every=0.01,
            uptime=uptime or Uptime(0),
        )
    )
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await delivery


async def test_services_are_noticed_when_they_come_change_and_go(service: Service) -> None:
    engine = NotingEngine()
    async with delivering(engine):
        await engine.until_told(service)
        other = await make_service("other")
        await engine.until_told(service, other)
        await execute("UPDATE service SET is_active = $1 WHERE id = $2", False, service.id)
        await engine.until_told(other)
        await other.delete()
        await engine.until_told()


async def test_a_service_may_have_a_number_of_connections_of_its_own(service: Service) -> None:
    engine = NotingEngine()
    async with delivering(engine):
        await engine.until_told(service)
        await execute("UPDATE service SET max_connections = 1 WHERE id = $1", service.id)
        await engine.until({service.id: 1})


async def test_more_mails_than_connections_are_made_ready_for_a_service_without_limits(service: Service) -> None:
    engine = NotingEngine()
    async with delivering(engine, ahead=4):
        await engine.until({service.id: 3})
        assert engine.ahead == {service.id: 12}
        await execute("UPDATE service SET max_connections = 2 WHERE id = $1", service.id)
        await engine.until({service.id: 2})
        assert engine.ahead == {service.id: 8}
        await execute("UPDATE service SET recipients_per_day = 1000 WHERE id = $1", service.id)
        await engine.until_ahead({})
        assert engine.told[-1] == {service.id: 2}


async def test_mail_of_a_service_that_becomes_active_is_tried(service: Service, put_mail: Put) -> None:
    await execute("UPDATE service SET is_active = $1 WHERE id = $2", False, service.id)
    message_id = await put_mail()
    tried = Tried()
    engine = NotingEngine()
    async with delivering(engine, tried.note):
        await engine.until_told()
        assert tried.empty()
        await execute("UPDATE service SET is_active = $1 WHERE id = $2", True, service.id)
        assert await tried.get() == message_id


async def test_mail_of_a_paused_service_waits_until_it_is_resumed(service: Service, put_mail: Put) -> None:
    await pause_service(service.id, "maintenance", None, now(), max_reason_chars=100)
    message_id = await put_mail()
    tried = Tried()
    engine = NotingEngine()
    async with delivering(engine, tried.note):
        await engine.until_told()
        assert tried.empty()
        await resume_service(service.id, None, now())
        assert await tried.get() == message_id


async def test_delivery_goes_on_after_database_trouble(
    service: Service, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    engine = NotingEngine()
    async with delivering(engine):
        await engine.until_told(service)
        await close_database()
        async with asyncio.timeout(20):
            while "services could not be read" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await open_database(settings)
        other = await make_service("other")
        await engine.until_told(service, other)

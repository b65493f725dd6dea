"""The circuit: opened by faults, closed by the probe that reached the server, one probe at a time in between."""

from datetime import datetime
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import as_moment, rows, transaction
from app.database.key import new_key
from app.mail.reply import Reply
from app.queue.forgive import forgive_outage
from app.services.check import ServiceValues
from app.services.circuit import (
    Circuit,
    CircuitPolicy,
    Fault,
    close_circuit,
    open_circuit,
    permit_probe,
    probe_soon,
    probe_what_is_far_off,
    read_circuits,
    shut_services,
)
from app.services.manage import create_service, update_service
from app.services.models import Service
from app.services.secret import Sealer
from app.settings import Settings
from tests.factories import NOW, after, count, make_service

POLICY = CircuitPolicy(probe_interval=30, auth_interval=60)
REFUSED = Fault("Connection refused.")
WRONG_PASSWORD = Fault("Authentication failed (535).", Reply(535, "no", "5.7.8"), of_auth=True)


@pytest.fixture
async def service(database: Settings) -> Service:
    return await make_service("relay", kind="SMTP", host="127.0.0.1", port=25, username="ada")


@pytest.fixture
async def open_relay(database: Settings) -> Service:
    return await make_service("open", kind="SMTP", host="127.0.0.1", port=25)


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(["k" * 32])


async def meet(
    service: Service, fault: Fault, moment: datetime = NOW, *, probing: bool = False, version: int = 1
) -> bool:
    async with transaction():
        return await open_circuit(service.id, version, fault, moment, POLICY, probing=probing)


async def circuit_of(service: Service) -> Circuit | None:
    return (await read_circuits([service.id])).get(service.id)


async def opened(service: Service) -> Circuit:
    circuit = await circuit_of(service)
    assert circuit is not None
    return circuit


async def probe_times(service_id: UUID) -> tuple[datetime, datetime]:
    (row,) = await rows("SELECT probe_at, auth_after FROM circuit WHERE service_id = $1", service_id)
    return as_moment(row["probe_at"]), as_moment(row["auth_after"])


async def test_a_fault_opens_the_circuit_until_the_probe_reaches_the_server(service: Service) -> None:
    assert await circuit_of(service) is None
    assert await meet(service, REFUSED)
    assert await opened(service) == Circuit(NOW, "Connection refused.", None, after(30))
    assert await shut_services(after(29.999)) == {service.id}
    assert await shut_services(after(30)) == set()

    assert await close_circuit(service.id, 1) == NOW
    assert await circuit_of(service) is None
    assert await close_circuit(service.id, 1) is None


async def test_another_fault_keeps_it_open_with_the_newer_reason(service: Service) -> None:
    await meet(service, REFUSED)
    assert not await meet(service, WRONG_PASSWORD, after(31))

    expected = Circuit(NOW, WRONG_PASSWORD.reason, Reply(535, "no", "5.7.8"), after(31 + 60))
    assert await opened(service) == expected


@pytest.mark.parametrize(
    ("reply", "for_now"), [(None, False), (Reply(421, "busy"), True), (Reply(554, "go away"), False)]
)
async def test_it_tells_whether_the_server_itself_said_for_now(
    service: Service, reply: Reply | None, for_now: bool
) -> None:
    await meet(service, Fault("No.", reply))
    assert (await opened(service)).for_now is for_now


async def test_the_server_is_left_alone_as_long_as_it_asks(service: Service) -> None:
    await meet(service, Fault("421", Reply(421, "try again in 5 minutes"), asked=300))
    assert (await opened(service)).probe_at == after(300)


async def test_one_probe_is_permitted_per_interval(open_relay: Service) -> None:
    await meet(open_relay, REFUSED)
    assert not await permit_probe(open_relay.id, after(29.999), POLICY)
    assert await permit_probe(open_relay.id, after(30), POLICY)
    assert not await permit_probe(open_relay.id, after(59.999), POLICY)
    assert await permit_probe(open_relay.id, after(60), POLICY)


async def test_a_probe_that_a_clock_far_ahead_put_off_goes_at_once(open_relay: Service) -> None:
    await meet(open_relay, REFUSED)
    async with transaction():
        assert await permit_probe(open_relay.id, after(365 * 24 * 3600), POLICY)
    await probe_what_is_far_off(after(100), 3600)
    assert await shut_services(after(100)) == set()
    async with transaction():
        assert await permit_probe(open_relay.id, after(100), POLICY)
    await probe_what_is_far_off(after(101), 3600)
    assert await shut_services(after(101)) == {open_relay.id}


async def test_nothing_is_permitted_for_a_closed_circuit(service: Service) -> None:
    assert not await permit_probe(service.id, NOW, POLICY)
    assert await count("circuit") == 0


async def test_auth_is_tried_at_most_once_per_interval(service: Service) -> None:
    await meet(service, WRONG_PASSWORD)
    assert not await permit_probe(service.id, after(59.999), POLICY)
    assert await permit_probe(service.id, after(60), POLICY)
    # It died before it told how far it came: it may have tried to authenticate.
    assert not await permit_probe(service.id, after(119.999), POLICY)
    assert await permit_probe(service.id, after(120), POLICY)


async def test_a_probe_that_did_not_come_to_auth_is_repeated_soon(service: Service) -> None:
    await meet(service, WRONG_PASSWORD)
    assert await permit_probe(service.id, after(60), POLICY)
    await meet(service, REFUSED, after(61), probing=True)

    assert await probe_times(service.id) == (after(91), after(61))


async def test_a_late_fault_of_an_older_attempt_lets_no_auth_through_sooner(service: Service) -> None:
    await meet(service, WRONG_PASSWORD)
    await meet(service, REFUSED, after(1))

    assert await probe_times(service.id) == (after(60), after(60))


async def test_what_is_found_out_about_an_older_version_does_not_count(service: Service) -> None:
    assert not await meet(service, REFUSED, version=2)
    assert await count("circuit") == 0
    await meet(service, REFUSED)
    assert not await meet(service, WRONG_PASSWORD, after(1), version=2)
    assert await close_circuit(service.id, 2) is None

    assert (await opened(service)).reason == "Connection refused."


async def test_a_fault_of_a_service_that_was_deleted_opens_nothing(service: Service) -> None:
    await service.delete()
    assert not await meet(service, REFUSED)


async def test_a_deleted_service_takes_its_circuit_along(service: Service) -> None:
    await meet(service, REFUSED)
    await service.delete()
    assert await count("circuit") == 0


async def test_asked_to_try_soon_a_probe_goes_at_once_and_nothing_shows_as_open(service: Service) -> None:
    await meet(service, REFUSED)
    await probe_soon(service.id, after(1))

    assert await circuit_of(service) is None
    assert await permit_probe(service.id, after(1), POLICY)
    assert not await permit_probe(service.id, after(1), POLICY)
    assert await meet(service, REFUSED, after(2), probing=True)
    assert (await opened(service)).opened_at == after(2)


async def test_asked_to_try_soon_auth_waits_for_its_interval_all_the_same(service: Service) -> None:
    await meet(service, Fault("454", Reply(454, "try again in 1 hour"), of_auth=True, asked=3600))
    await probe_soon(service.id, after(1))

    circuit = await opened(service)
    assert (circuit.reason, circuit.probe_at) == ("454", after(60))
    await probe_soon(service.id, after(60))
    assert await circuit_of(service) is None
    assert await permit_probe(service.id, after(60), POLICY)


async def test_new_credentials_let_one_probe_through_at_once(database: Settings, sealer: Sealer) -> None:
    values = ServiceValues(name="new", host="127.0.0.1", username="ada", password="secret")
    service = await create_service(values, None, sealer, now=lambda: NOW)

    assert await circuit_of(service) is None
    assert await permit_probe(service.id, NOW, POLICY)
    assert not await permit_probe(service.id, after(59.999), POLICY)
    assert await close_circuit(service.id, 1) is None
    assert await count("circuit") == 0


async def test_a_service_without_credentials_has_nothing_to_prove(database: Settings, sealer: Sealer) -> None:
    await create_service(ServiceValues(name="new", host="127.0.0.1"), None, sealer)
    await create_service(ServiceValues(name="box", kind="SANDBOX"), None, sealer)
    assert await count("circuit") == 0


async def test_corrected_credentials_are_tried_at_once(service: Service, sealer: Sealer) -> None:
    await meet(service, WRONG_PASSWORD)
    await update_service(service, {"password": "right"}, None, sealer, forgive=forgive_outage, now=lambda: after(5))

    assert await circuit_of(service) is None
    assert await probe_times(service.id) == (after(5), after(5))
    assert not await meet(service, WRONG_PASSWORD, after(6), probing=True)
    assert await close_circuit(service.id, 1) is None
    assert await permit_probe(service.id, after(5), POLICY)


async def test_another_server_without_credentials_is_talked_to_freely(open_relay: Service, sealer: Sealer) -> None:
    await meet(open_relay, REFUSED)
    await update_service(open_relay, {"port": 2525}, None, sealer, forgive=forgive_outage)
    assert await count("circuit") == 0


async def test_a_change_that_does_not_concern_the_server_changes_nothing(service: Service, sealer: Sealer) -> None:
    await update_service(service, {"password": "secret"}, None, sealer, forgive=forgive_outage, now=lambda: NOW)
    await meet(service, WRONG_PASSWORD, version=2)
    before = await opened(service)
    await update_service(service, {"label": "The relay"}, None, sealer, forgive=forgive_outage, now=now)

    assert await opened(service) == before


async def test_only_circuits_of_the_services_asked_for_are_read(service: Service, open_relay: Service) -> None:
    await meet(service, REFUSED)
    assert set(await read_circuits([service.id, open_relay.id])) == {service.id}
    assert await read_circuits([open_relay.id, new_key()]) == {}
    assert await read_circuits([]) == {}

"""While a service's circuit is open: one claim is the probe, no attempt counts, and what waits is kept."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import pytest

from app.database.connection import as_moment, execute, rows, transaction
from app.database.key import new_key
from app.mail.reply import Reply
from app.queue.claim import Claim, claim_message, release_claim
from app.queue.forgive import _WAITED, forgive_outage
from app.queue.lookup import list_recipients
from app.queue.outage import ServiceNote
from app.queue.pause import resume_service
from app.queue.schedule import Schedule
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.circuit import CircuitPolicy, Fault, open_circuit, read_circuits
from app.services.manage import ServiceChanges, update_service
from app.services.models import Service
from app.services.secret import Sealer
from app.settings import Settings
from tests.factories import NOW, after, count, make_service, message_row, recipient_states
from tests.queue.conftest import Put

POLICY = CircuitPolicy(probe_interval=30, auth_interval=60)
REFUSED = Fault("Connection refused.")
DAY = 24 * 3600
SEALER = Sealer(["k" * 32])


async def claimed(message_id: UUID, moment: datetime = NOW) -> Claim | None:
    return await claim_message(new_key(), message_id, moment, 60, circuit=POLICY)


async def opened(service: Service, fault: Fault = REFUSED) -> None:
    async with transaction():
        assert await open_circuit(service.id, service.version, fault, NOW, POLICY, probing=False)


async def meet(claim: Claim, fault: Fault, moment: datetime, *, lease_held: bool = True) -> ServiceNote:
    """The attempt of the claim ends with a fault of its service."""

    def judge(_: bool) -> Sequence[Settlement]:
        return [
            Settlement(r.id, r.number, RecipientState.DEFERRED, detail=fault.reason, untried=True)
            for r in claim.recipients
        ]

    note = ServiceNote(claim, fault, moment, POLICY, reached=False)
    assert await settle(claim, judge, NOW, moment, note=note.write) is lease_held
    return note


async def send(claim: Claim, moment: datetime) -> ServiceNote:
    note = ServiceNote(claim, None, moment, POLICY, reached=True)
    settlements = [Settlement(r.id, r.number, RecipientState.SENT) for r in claim.recipients]
    assert await settle(claim, lambda _: settlements, NOW, moment, note=note.write)
    return note


async def deferred(put_mail: Put) -> UUID:
    """A mail that was tried at NOW, and got a 4yz."""
    message_id = await put_mail()
    claim = await claimed(message_id)
    assert claim is not None
    busy = [Settlement(r.id, 1, RecipientState.DEFERRED, after(30), Reply(450, "busy")) for r in claim.recipients]
    assert await settle(claim, lambda _: busy, NOW, NOW)
    return message_id


async def tried_since(message_id: UUID) -> datetime:
    (row,) = await rows("SELECT tried_since FROM recipient WHERE message_id = $1", message_id)
    moment: datetime = as_moment(row["tried_since"])
    return moment


async def test_nothing_is_claimed_before_the_probe_is_due_and_other_services_go_on(
    service: Service, put_mail: Put
) -> None:
    other = await make_service("other")
    kept, free = await put_mail(), await put_mail(service=other)
    await opened(service)

    assert await claimed(kept, after(29.999)) is None
    assert await claimed(free, after(1)) is not None
    row = await message_row(kept)
    assert (row["state"], row["fence"], row["due_at"]) == ("queued", 0, NOW)


async def test_of_many_claims_at_once_one_is_the_probe_and_the_others_leave_no_trace(
    service: Service, put_mail: Put
) -> None:
    ids = [await put_mail() for _ in range(8)]
    await opened(service)
    claims = await asyncio.gather(*(claimed(message_id, after(30)) for message_id in ids))

    (probe,) = [claim for claim in claims if claim is not None]
    assert probe.probing
    for message_id in ids:
        row = await message_row(message_id)
        expected = ("sending", 1) if message_id == probe.message_id else ("queued", 0)
        assert (row["state"], row["fence"]) == expected
    numbers = await rows("SELECT attempt_number FROM recipient ORDER BY attempt_number")
    assert [row["attempt_number"] for row in numbers] == [0] * 7 + [1]


async def test_the_next_probe_goes_an_interval_later_also_when_a_prober_dies(service: Service, put_mail: Put) -> None:
    first, second, third = [await put_mail() for _ in range(3)]
    await opened(service)
    assert await claimed(first, after(30)) is not None
    assert await claimed(second, after(59.999)) is None
    assert await claimed(second, after(60)) is not None
    assert await claimed(third, after(60)) is None


async def test_a_fault_opens_the_circuit_and_takes_the_attempt_back(
    service: Service, put_mail: Put, caplog: pytest.LogCaptureFixture
) -> None:
    message_id = await put_mail("a@example.com", "b@example.com")
    claim = await claimed(message_id)
    assert claim is not None
    (await meet(claim, REFUSED, after(1))).log()

    recipients = (await list_recipients([message_id]))[message_id]
    assert [(r.state, r.attempt_number, r.detail) for r in recipients] == [("deferred", 0, "Connection refused.")] * 2
    assert [r.next_attempt_at for r in recipients] == [NOW, NOW]
    assert await count("attempt") == 0
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["lease_owner"]) == ("deferred", NOW, None)
    assert (await read_circuits([service.id]))[service.id].opened_at == after(1)
    assert [record.levelname for record in caplog.records if "circuit open" in record.message] == ["WARNING"]
    assert "Connection refused." in caplog.text


async def test_a_fault_of_a_stale_attempt_opens_nothing(service: Service, put_mail: Put) -> None:
    message_id = await put_mail()
    stale = await claimed(message_id)
    assert stale is not None
    assert await claimed(message_id, after(60)) is not None
    await meet(stale, REFUSED, after(61), lease_held=False)

    assert await count("circuit") == 0
    assert await recipient_states(message_id) == ["claimed"]


async def test_only_the_first_of_many_faults_is_logged(
    service: Service, put_mail: Put, caplog: pytest.LogCaptureFixture
) -> None:
    claims = [await claimed(await put_mail()) for _ in range(3)]
    notes = await asyncio.gather(*(meet(claim, REFUSED, after(1)) for claim in claims if claim is not None))
    for note in notes:
        note.log()

    assert len([record for record in caplog.records if "circuit open" in record.message]) == 1


async def test_the_probe_that_reaches_the_server_closes_the_circuit_and_an_older_attempt_does_not(
    service: Service, put_mail: Put, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    under_way = await claimed(await put_mail())
    assert under_way is not None
    waiting = await put_mail()
    await opened(service)
    (await send(under_way, after(1))).log()
    assert await claimed(waiting, after(2)) is None
    assert "closed" not in caplog.text

    probe = await claimed(waiting, after(30))
    assert probe is not None
    (await send(probe, after(31))).log()
    assert await count("circuit") == 0
    assert "circuit closed after 31 s" in caplog.text
    free = await claimed(await put_mail(), after(31))
    assert free is not None
    assert not free.probing


async def test_a_probe_that_meets_a_fault_again_costs_no_attempt_either(service: Service, put_mail: Put) -> None:
    message_id = await put_mail()
    for seconds in (0, 30, 60, 90):
        claim = await claimed(message_id, after(seconds))
        assert claim is not None
        assert [r.number for r in claim.recipients] == [1]
        await meet(claim, REFUSED, after(seconds))
    assert await recipient_states(message_id) == ["deferred"]


async def test_an_outage_does_not_count_towards_the_give_up_age(service: Service, put_mail: Put) -> None:
    message_id = await deferred(put_mail)
    await opened(service)
    probe = await claimed(await put_mail(), after(3 * DAY))
    assert probe is not None
    await send(probe, after(3 * DAY))

    assert await tried_since(message_id) == after(3 * DAY)


@pytest.mark.parametrize("end", ["password", "no credentials", "resume"])
async def test_an_outage_that_ends_otherwise_than_by_a_probe_does_not_count_either(
    service: Service, put_mail: Put, end: str
) -> None:
    message_id = await deferred(put_mail)
    await opened(service)
    if end == "resume":
        await resume_service(service.id, None, after(3 * DAY))
    else:
        await execute("UPDATE service SET kind = 'SMTP', host = '127.0.0.1', port = 25 WHERE id = $1", service.id)
        changes: ServiceChanges = {"username": "ada", "password": "new"} if end == "password" else {"port": 26}
        await update_service(service, changes, None, SEALER, forgive=forgive_outage, now=lambda: after(3 * DAY))

    assert await tried_since(message_id) == after(3 * DAY)
    assert await read_circuits([service.id]) == {}


async def test_asked_to_try_soon_while_auth_has_to_wait_the_outage_goes_on(service: Service, put_mail: Put) -> None:
    message_id = await deferred(put_mail)
    await opened(service, Fault("Authentication failed.", Reply(535, "no", "5.7.8"), of_auth=True))
    await resume_service(service.id, None, after(59))
    assert await tried_since(message_id) == NOW
    probe = await claimed(await put_mail(moment=after(1)), after(60))
    assert probe is not None
    await send(probe, after(61))
    assert await tried_since(message_id) == after(61)


async def test_what_was_lost_with_its_worker_or_given_back_is_forgiven_an_outage_too(
    service: Service, put_mail: Put
) -> None:
    message_id = await put_mail()
    assert await claimed(message_id) is not None
    taken_over = await claimed(message_id, after(60))
    assert taken_over is not None
    assert await release_claim(taken_over, after(61))
    assert await recipient_states(message_id) == ["queued"]
    await opened(service)
    probe = await claimed(await put_mail(), after(3 * DAY))
    assert probe is not None
    await send(probe, after(3 * DAY))

    assert await tried_since(message_id) == after(3 * DAY)


async def test_an_outage_does_not_count_for_the_probe_that_ends_it(service: Service, put_mail: Put) -> None:
    message_id = await deferred(put_mail)
    await opened(service)
    probe = await claimed(message_id, after(3 * DAY))
    assert probe is not None
    assert probe.probing
    assert [r.tried_since for r in probe.recipients] == [after(3 * DAY)]
    note = ServiceNote(probe, None, after(3 * DAY), POLICY, reached=True)
    busy = [Settlement(r.id, r.number, RecipientState.DEFERRED, after(4 * DAY)) for r in probe.recipients]
    assert await settle(probe, lambda _: busy, after(3 * DAY), after(3 * DAY), note=note.write)

    assert await tried_since(message_id) == after(3 * DAY)


async def test_what_was_settled_long_ago_is_not_looked_through_when_an_outage_ends(sqlite_database: Settings) -> None:
    steps = await rows(f"EXPLAIN QUERY PLAN SELECT id FROM recipient WHERE {_WAITED}", new_key())
    assert any("COVERING INDEX message_due (route_id=?)" in step["detail"] for step in steps)


async def test_a_mail_expires_during_an_outage_as_its_author_asked(service: Service, put_mail: Put) -> None:
    message_id = await put_mail(schedule=Schedule(expires_at=after(20)))
    await opened(service)
    assert await claimed(message_id, after(20)) is None
    assert await recipient_states(message_id) == ["expired"]


async def test_resuming_lets_one_probe_through_at_once(service: Service, put_mail: Put) -> None:
    first, second = await put_mail(), await put_mail()
    await opened(service)
    await resume_service(service.id, None, after(1))

    assert await read_circuits([service.id]) == {}
    assert await claimed(first, after(1)) is not None
    assert await claimed(second, after(1)) is None


@pytest.mark.parametrize("reply", [None, Reply(535, "no", "5.7.8")])
async def test_a_mail_whose_verdict_is_awaited_fails_at_once_while_the_circuit_is_open(
    service: Service, put_mail: Put, reply: Reply | None
) -> None:
    await opened(service, Fault("Authentication failed.", reply))
    message_id = await put_mail("a@example.com", "b@example.com", verdict_awaited=True, moment=after(29))

    recipients = (await list_recipients([message_id]))[message_id]
    assert [(r.state, r.detail, r.reply, r.attempt_number) for r in recipients] == [
        ("failed", "Authentication failed.", reply, 0)
    ] * 2
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["settled_at"]) == ("failed", None, after(29))
    assert not row["verdict_awaited"]
    types = await rows("SELECT type FROM event WHERE message_id = $1 ORDER BY id", message_id)
    assert [event["type"] for event in types] == ["accepted", "failed", "failed"]


@pytest.mark.parametrize(
    ("fault", "seconds", "awaited"),
    [(REFUSED, 29, False), (REFUSED, 30, True), (Fault("421 busy", Reply(421, "busy")), 1, True)],
)
async def test_who_does_not_wait_or_may_be_the_probe_or_is_asked_to_come_back_is_queued(
    service: Service, put_mail: Put, fault: Fault, seconds: float, awaited: bool
) -> None:
    await opened(service, fault)
    message_id = await put_mail(verdict_awaited=awaited, moment=after(seconds))
    assert await recipient_states(message_id) == ["queued"]


async def test_credentials_that_are_to_be_proven_fail_nothing_yet(service: Service, put_mail: Put) -> None:
    await opened(service)
    await execute("UPDATE circuit SET opened_at = NULL, reason = NULL")
    assert await recipient_states(await put_mail(verdict_awaited=True, moment=after(1))) == ["queued"]

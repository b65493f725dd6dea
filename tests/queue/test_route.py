"""By which service mail leaves, as rows: put, moved, bound, sent home."""

from uuid import UUID

import pytest

from app.access.principal import Principal
from app.database.connection import execute, rows, transaction
from app.errors import Conflict
from app.queue.claim import Claim, claim_message
from app.queue.embedded import EmbeddedEngine
from app.queue.intervene import Intervener
from app.queue.lost import end_lost_attempt
from app.queue.pause import pause_service, resume_service
from app.queue.remove import remove_service
from app.queue.route import Detour, Route, divert
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.circuit import Fault
from app.services.models import Service
from tests.factories import NOW, after, make_service, message_row, recipient_states
from tests.queue.conftest import Put

FAULT = Fault("Connection refused.")


@pytest.fixture
async def other(service: Service) -> Service:
    """The service's fallback."""
    other = await make_service("other")
    await execute("UPDATE service SET fallbacks = $2 WHERE id = $1", service.id, f'["{other.id}"]')
    return other


async def shut(service: Service, until: float = 3600, reason: str | None = "Connection refused.") -> None:
    await execute(
        "INSERT INTO circuit (service_id, opened_at, reason, probe_at, auth_after) VALUES ($1, $2, $3, $4, $4)",
        service.id,
        NOW if reason else None,
        reason,
        after(until),
    )


async def open_again(service: Service) -> None:
    await execute("DELETE FROM circuit WHERE service_id = $1", service.id)


async def place(message_id: UUID) -> tuple[UUID, str | None]:
    row = await message_row(message_id)
    return UUID(str(row["route_id"])), row["route_reason"]


async def claim(message_id: UUID, worker: UUID, seconds: float = 1) -> Claim:
    claimed = await claim_message(worker, message_id, after(seconds), 60)
    assert claimed is not None
    return claimed


async def test_mail_is_put_at_the_fallback_only_while_its_service_is_known_to_be_down(
    service: Service, other: Service, put_mail: Put
) -> None:
    own = (service.id, None)
    assert await place(await put_mail(fallbacks=[other.id])) == own
    await shut(service, reason=None)
    assert await place(await put_mail(fallbacks=[other.id])) == own, "new credentials are being proven"
    await open_again(service)
    await shut(service)
    assert await place(await put_mail()) == own, "its author may not send with the fallback"
    assert await place(await put_mail(fallbacks=[other.id])) == (other.id, "Connection refused.")
    assert await place(await put_mail(fallbacks=[other.id], moment=after(3600))) == own, "a probe is due"
    await shut(other)
    assert await place(await put_mail(fallbacks=[other.id])) == own


async def test_a_waiting_client_gets_no_verdict_while_a_fallback_is_usable(
    service: Service, other: Service, put_mail: Put
) -> None:
    await shut(service)
    assert await recipient_states(await put_mail(verdict_awaited=True)) == ["failed"]
    message_id = await put_mail(verdict_awaited=True, fallbacks=[other.id])
    assert await recipient_states(message_id) == ["queued"]
    assert (await message_row(message_id))["verdict_awaited"]


async def test_waiting_mail_goes_to_the_fallback_and_back(
    service: Service, other: Service, put_mail: Put, engine: EmbeddedEngine
) -> None:
    allowed, later, barred = (
        await put_mail(fallbacks=[other.id]),
        await put_mail(fallbacks=[other.id], moment=after(60)),
        await put_mail(),
    )
    assert await divert(engine, after(1), 10) == 0
    await shut(service)
    assert await divert(engine, after(1), 10) == 1
    assert [(await place(key))[0] for key in (allowed, later, barred)] == [other.id, service.id, service.id]
    assert await place(allowed) == (other.id, "Connection refused.")
    await open_again(service)
    assert await divert(engine, after(1), 10) == 1
    assert await place(allowed) == (service.id, None)


async def test_one_mail_at_a_time_finds_out_whether_the_service_is_back(
    service: Service, other: Service, put_mail: Put, engine: EmbeddedEngine
) -> None:
    await shut(service, until=30)
    message_ids = [await put_mail(fallbacks=[other.id]) for _ in range(3)]
    assert await divert(engine, after(30), 10) == 1
    assert [(await place(key))[0] for key in message_ids] == [service.id, other.id, other.id]


async def test_mail_of_which_a_server_may_have_a_copy_stays_where_it_is(
    service: Service, other: Service, put_mail: Put, engine: EmbeddedEngine, worker: UUID
) -> None:
    message_id = await put_mail(fallbacks=[other.id])
    claimed = await claim(message_id, worker)
    (recipient,) = claimed.recipients
    doubt = Settlement(recipient.id, 1, RecipientState.DEFERRED, after(2), detail="lost", phase="dot", in_doubt=True)
    assert await settle(claimed, lambda _: [doubt], after(1), after(1))
    await shut(service)
    assert await divert(engine, after(3), 10) == 0
    await open_again(service)
    again = await claim(message_id, worker, 3)
    assert await settle_untried(again, 4) is None
    assert await place(message_id) == (service.id, None)


async def settle_untried(claimed: Claim, seconds: float) -> Route | None:
    """Settle the claim as one that met a fault; where it goes on."""
    detour = Detour(claimed, FAULT, after(seconds))
    untried = [
        Settlement(one.id, one.number, RecipientState.DEFERRED, detail="no", untried=True) for one in claimed.recipients
    ]
    assert await settle(claimed, lambda _: untried, after(seconds), after(seconds), detour=detour)
    return detour.route


async def test_an_attempt_that_meets_a_fault_queues_the_mail_for_the_fallback_uncounted(
    service: Service, other: Service, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail("a@x.example", "b@x.example", fallbacks=[other.id], verdict_awaited=True)
    route = await settle_untried(await claim(message_id, worker), 1)
    assert route == Route(other.id, "Connection refused.")
    assert await place(message_id) == (other.id, "Connection refused.")
    row = await message_row(message_id)
    assert (row["state"], bool(row["verdict_awaited"]), row["due_at"]) == ("queued", True, NOW)
    second = await claim(message_id, worker)
    assert [recipient.number for recipient in second.recipients] == [1, 1]
    assert second.via is not None
    assert (second.service_id, second.own_service_id, second.via.service_name) == (other.id, service.id, "other")
    await shut(service)
    assert await settle_untried(second, 2) is None, "both are down"
    assert await recipient_states(message_id) == ["deferred"] * 2


async def test_the_attempt_names_the_fallback_also_when_its_worker_was_lost(
    service: Service, other: Service, put_mail: Put, worker: UUID
) -> None:
    await shut(service)
    message_id = await put_mail(fallbacks=[other.id])
    await claim(message_id, worker)
    again = await claim(message_id, worker, 100)
    (recipient,) = again.recipients
    assert await settle(again, lambda _: [Settlement(recipient.id, 2, RecipientState.SENT)], after(101), after(101))
    found = await rows("SELECT service_id, service_name, fallback_reason FROM attempt ORDER BY number")
    expected = (other.id, "other", "Connection refused.")
    assert [(UUID(str(row["service_id"])), row["service_name"], row["fallback_reason"]) for row in found] == [
        expected
    ] * 2


async def test_a_pause_of_the_own_service_keeps_its_mail_wherever_it_stands(
    service: Service, other: Service, put_mail: Put, engine: EmbeddedEngine, worker: UUID
) -> None:
    await shut(service)
    message_id = await put_mail(fallbacks=[other.id])
    await pause_service(service.id, "moving", None, NOW, max_reason_chars=100)
    assert await claim_message(worker, message_id, after(1), 60) is None
    assert await divert(engine, after(1), 10) == 1
    assert (await place(message_id))[0] == service.id


async def test_what_meets_a_fault_after_its_own_service_was_paused_stays(
    service: Service, other: Service, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail(fallbacks=[other.id])
    claimed = await claim(message_id, worker)
    await pause_service(service.id, "moving", None, NOW, max_reason_chars=100)
    assert await settle_untried(claimed, 2) is None
    assert await place(message_id) == (service.id, None)


async def test_a_pause_of_the_own_service_does_not_count_for_what_is_in_doubt_at_a_fallback(
    service: Service, other: Service, put_mail: Put, worker: UUID
) -> None:
    await shut(service)
    message_id = await put_mail(fallbacks=[other.id])
    await claim(message_id, worker)
    async with transaction():
        await end_lost_attempt(message_id, after(100))
    await pause_service(service.id, "moving", None, after(101), max_reason_chars=100)
    await resume_service(service.id, None, after(10_000))
    again = await claim(message_id, worker, 10_001)
    assert (again.service_id, again.recipients[0].tried_since) == (other.id, None)


async def test_a_pause_of_the_fallback_gives_the_mail_back(
    service: Service, other: Service, put_mail: Put, engine: EmbeddedEngine
) -> None:
    await shut(service)
    message_id = await put_mail(fallbacks=[other.id])
    await pause_service(other.id, "moving", None, NOW, max_reason_chars=100)
    assert await divert(engine, after(1), 10) == 1
    assert await place(message_id) == (service.id, None)


async def test_a_deleted_fallback_gives_the_mail_back_but_not_while_it_is_being_sent(
    service: Service, other: Service, put_mail: Put, worker: UUID
) -> None:
    await shut(service)
    sending, waiting = await put_mail(fallbacks=[other.id]), await put_mail(fallbacks=[other.id])
    claimed = await claim(sending, worker)
    with pytest.raises(Conflict):
        await remove_service(other.id, None, after(1))
    (recipient,) = claimed.recipients
    assert await settle(claimed, lambda _: [Settlement(recipient.id, 1, RecipientState.SENT)], after(1), after(1))
    assert await remove_service(other.id, None, after(2)) == 0
    assert await place(waiting) == (service.id, None)


async def test_mail_held_in_doubt_at_a_fallback_goes_home_when_that_was_deleted(
    service: Service, other: Service, put_mail: Put, worker: UUID, principal: Principal, intervener: Intervener
) -> None:
    """Held, it was not due when the fallback was deleted; in doubt, it waited for that one alone."""
    await shut(service)
    message_id = await put_mail(fallbacks=[other.id])
    await claim(message_id, worker)
    assert await claim_message(worker, message_id, after(100), 60, take_over=True) is not None
    async with transaction():
        await end_lost_attempt(message_id, after(200))
    await intervener.hold(message_id, principal, after(200))
    await remove_service(other.id, None, after(201))
    await intervener.release(message_id, principal, after(202))
    await divert(intervener.engine, after(203), 10)
    assert await place(message_id) == (service.id, None)


async def test_mail_that_an_earlier_version_accepted_stands_at_its_own_service(
    service: Service, put_mail: Put, principal: Principal, intervener: Intervener, worker: UUID
) -> None:
    """A process that runs still while the database is migrated knows no routes."""
    waiting, held = await put_mail(), await put_mail()
    await intervener.hold(held, principal, NOW)
    await execute("UPDATE message SET route_id = NULL")
    await divert(intervener.engine, after(1), 10)
    assert await claim(waiting, worker)
    await intervener.release(held, principal, after(2))
    await divert(intervener.engine, after(3), 10)
    assert await claim(held, worker, 3)


async def test_the_outage_before_a_move_does_not_count_towards_the_give_up_age(
    service: Service, other: Service, put_mail: Put, engine: EmbeddedEngine, worker: UUID
) -> None:
    """Both were down for days: what was tried before is not given up by the first attempt after that."""
    waiting, probe = await put_mail(fallbacks=[other.id]), await put_mail(fallbacks=[other.id])
    await execute("UPDATE recipient SET tried_since = $1", after(-60))
    await shut(service, until=9_000)
    await shut(other, until=9_000)
    probing = await claim(probe, worker, 9_000)
    await open_again(other)
    assert await settle_untried(probing, 9_001) == Route(other.id, "Connection refused.")
    assert await divert(engine, after(9_002), 10) == 1
    claims = [await claim(key, worker, 9_003) for key in (waiting, probe)]
    assert [each.service_id for each in claims] == [other.id] * 2
    assert [each.recipients[0].tried_since for each in claims] == [after(9_002 - 60), after(9_001 - 60)]


async def test_a_retry_begins_with_the_own_service(
    service: Service, other: Service, put_mail: Put, worker: UUID, principal: Principal, intervener: Intervener
) -> None:
    await shut(service)
    message_id = await put_mail(fallbacks=[other.id])
    claimed = await claim(message_id, worker)
    (recipient,) = claimed.recipients
    assert await settle(claimed, lambda _: [Settlement(recipient.id, 1, RecipientState.FAILED)], after(1), after(1))
    await intervener.retry(message_id, principal, after(2))
    assert await place(message_id) == (service.id, None)


async def test_limits_are_counted_on_the_service_by_which_it_leaves(
    service: Service, other: Service, put_mail: Put, worker: UUID
) -> None:
    await execute("UPDATE service SET recipients_per_hour = 1 WHERE id = $1", other.id)
    await shut(service)
    first, second = await put_mail(fallbacks=[other.id]), await put_mail(fallbacks=[other.id])
    await claim(first, worker)
    assert await claim_message(worker, second, after(1), 60) is None
    counted = await rows("SELECT DISTINCT subject FROM counter")
    assert [UUID(str(row["subject"])) for row in counted] == [other.id]

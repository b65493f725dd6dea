"""A paused service keeps its mail; resumed, it lets it go."""

from uuid import UUID

import pytest

from app.access.check import GrantValues
from app.access.principal import Principal
from app.clock import now
from app.errors import ErrorCode, Forbidden, InvalidInput, NotFound
from app.queue.claim import claim_message, release_claim
from app.queue.embedded import EmbeddedEngine
from app.queue.pause import pause_service, resume_service
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.models import Service
from tests.factories import NOW, after, make_principal, make_service, recipient_states
from tests.queue.conftest import Put

DAY = 24 * 3600


async def pause(service_id: UUID, reason: str = "maintenance", by: Principal | None = None) -> None:
    await pause_service(service_id, reason, by, NOW, max_reason_chars=20)


async def test_nothing_of_a_paused_service_is_claimed_until_it_is_resumed(
    service: Service, put_mail: Put, worker: UUID
) -> None:
    other = await make_service("other")
    await pause(service.id)
    kept, free = await put_mail(), await put_mail(service=other)
    assert await claim_message(worker, kept, NOW, 60) is None
    assert await claim_message(worker, free, NOW, 60) is not None
    assert await recipient_states(kept) == ["queued"]

    await resume_service(service.id, None, NOW)
    assert await claim_message(worker, kept, NOW, 60) is not None


async def test_the_engine_finds_nothing_due_while_the_service_is_paused(
    service: Service, put_mail: Put, engine: EmbeddedEngine
) -> None:
    message_id = await put_mail()
    assert await engine._due(service.id, now(), 5) == [message_id]
    await pause(service.id)
    assert await engine._due(service.id, now(), 5) == []
    await resume_service(service.id, None, NOW)
    assert await engine._due(service.id, now(), 5) == [message_id]


async def test_what_is_being_sent_when_its_service_is_paused_is_settled(
    service: Service, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail()
    claim = await claim_message(worker, message_id, NOW, 60)
    assert claim is not None
    await pause(service.id)
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert await settle(claim, lambda _: [settlement], NOW, NOW)


async def test_the_pause_does_not_count_towards_the_give_up_age(service: Service, put_mail: Put, worker: UUID) -> None:
    message_id = await put_mail()
    claim = await claim_message(worker, message_id, NOW, 60)
    assert claim is not None
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.DEFERRED, after(30))
    assert await settle(claim, lambda _: [settlement], after(1), after(2))
    await resume_service(service.id, None, NOW)
    again = await claim_message(worker, message_id, after(30), 60)
    assert again is not None
    assert again.recipients[0].tried_since == after(1), "it was not paused"
    later = Settlement(claim.recipients[0].id, 2, RecipientState.DEFERRED, after(60))
    assert await settle(again, lambda _: [later], after(30), after(31))

    await pause(service.id)
    await resume_service(service.id, None, NOW)
    resumed = await claim_message(worker, message_id, after(5 * DAY), 60)
    assert resumed is not None
    assert (resumed.recipients[0].number, resumed.recipients[0].tried_since) == (3, None)


async def test_the_pause_does_not_count_for_mail_that_was_given_back_before_either(
    service: Service, put_mail: Put, worker: UUID
) -> None:
    message_id = await put_mail()
    assert await claim_message(worker, message_id, NOW, 60) is not None
    taken_over = await claim_message(worker, message_id, after(60), 60)
    assert taken_over is not None
    assert taken_over.recipients[0].tried_since == NOW
    assert await release_claim(taken_over, after(61))
    await pause(service.id)
    await resume_service(service.id, None, NOW)

    resumed = await claim_message(worker, message_id, after(5 * DAY), 60)
    assert resumed is not None
    assert resumed.recipients[0].tried_since is None


async def test_a_service_paused_again_keeps_its_time_and_gets_the_new_reason(service: Service) -> None:
    await pause(service.id)
    await pause_service(service.id, "still", None, after(5), max_reason_chars=20)
    paused = await Service.get(id=service.id)
    assert (paused.paused_at, paused.paused_reason, paused.version) == (NOW, "still", service.version)

    await resume_service(service.id, None, NOW)
    await resume_service(service.id, None, NOW)
    resumed = await Service.get(id=service.id)
    assert (resumed.paused_at, resumed.paused_reason) == (None, None)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 21, "nul \x00", "\ud800"])
async def test_a_reason_is_some_text(service: Service, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await pause(service.id, reason)
    assert refused.value.problems[0].field == ("reason",)
    assert (await Service.get(id=service.id)).paused_at is None


async def test_who_manages_the_service_pauses_and_resumes_it(service: Service, worker: UUID) -> None:
    manager = await make_principal("manager", [GrantValues("email", ["MANAGE_SERVICES"])])
    sender = await make_principal("sender", [GrantValues(None, ["SEND", "READ_MESSAGES"])])
    await pause(service.id, by=manager)
    await resume_service(service.id, manager, NOW)
    with pytest.raises(Forbidden):
        await pause(service.id, by=sender)
    with pytest.raises(Forbidden):
        await resume_service(service.id, sender, NOW)


async def test_a_service_that_is_not_there_is_not_found(database: object, worker: UUID) -> None:
    for work in (pause(worker), resume_service(worker, None, NOW)):
        with pytest.raises(NotFound) as refused:
            await work
        assert refused.value.problems[0].code is ErrorCode.SERVICE_NOT_FOUND

"""A service is removed only when its mail has left, or is to be cancelled."""

import asyncio
from collections.abc import Awaitable
from contextvars import Context
from uuid import UUID

import pytest

from app.access.check import GrantValues
from app.access.policy import visible_services
from app.access.principal import Action, Principal
from app.database.connection import dialect, rows, transaction
from app.errors import Conflict, ErrorCode, Forbidden, NotFound, Refusal
from app.inbox.models import CapturedMail
from app.queue.claim import claim_message
from app.queue.embedded import EmbeddedEngine
from app.queue.lookup import MessageFilter, list_messages
from app.queue.put import put
from app.queue.remove import remove_service
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.models import Service
from tests.factories import NOW, after, count, make_principal, make_service, message_row, new_message, recipient_states
from tests.queue.conftest import Put


async def send_first_and_defer_second(worker: UUID, message_id: UUID) -> None:
    claim = await claim_message(worker, message_id, NOW, 60)
    assert claim is not None
    first, second = claim.recipients
    settlements = [
        Settlement(first.id, 1, RecipientState.SENT),
        Settlement(second.id, 1, RecipientState.DEFERRED, after(30)),
    ]
    assert await settle(claim, lambda _: settlements, NOW, NOW)


async def test_a_service_without_unsent_mail_is_removed(service: Service) -> None:
    assert await remove_service(service.id, None, NOW) == 0
    assert not await Service.exists(id=service.id)


async def test_a_service_that_is_not_there_is_not_found(service: Service, worker: UUID) -> None:
    with pytest.raises(NotFound) as refused:
        await remove_service(worker, None, NOW)
    assert refused.value.problems[0].code is ErrorCode.SERVICE_NOT_FOUND


async def test_only_who_manages_all_services_may_remove_one(service: Service, principal: Principal) -> None:
    powerless = await make_principal("sender", [])
    for key in (service.id, powerless.role_id):
        with pytest.raises(Forbidden, match=f"not granted {Action.MANAGE_SERVICES} for all services"):
            await remove_service(key, powerless, NOW)
    assert await remove_service(service.id, principal, NOW) == 0


async def test_who_manages_all_services_but_one_may_not_remove_that_one(service: Service, put_mail: Put) -> None:
    message_id = await put_mail()
    grants = [GrantValues(None, [Action.MANAGE_SERVICES]), GrantValues(service.name, [Action.SEND])]
    keeper = await make_principal("keeper", grants)
    with pytest.raises(Forbidden, match=f"not granted {Action.MANAGE_SERVICES} for this service"):
        await remove_service(service.id, keeper, NOW, cancel_unsent=True)

    assert await Service.exists(id=service.id)
    assert await recipient_states(message_id) == ["queued"]


@pytest.mark.usefixtures("database")
async def test_what_a_sandbox_captured_is_deleted_with_it() -> None:
    service, other = await make_service("sandbox"), await make_service("other")
    for captured_by in (service, other):
        await CapturedMail.create(
            service=captured_by, received_at=NOW, reverse_path="", recipients=[], size_bytes=0, octets=b""
        )
    await remove_service(service.id, None, NOW)

    assert await CapturedMail.all().values_list("service_id", flat=True) == [other.id]


async def test_a_service_with_unsent_mail_stays(service: Service, put_mail: Put) -> None:
    message_id = await put_mail()
    with pytest.raises(Conflict, match="still has 1 unsent messages") as refused:
        await remove_service(service.id, None, NOW)

    assert refused.value.problems[0].field == ("cancelUnsent",)
    assert await Service.exists(id=service.id)
    assert await recipient_states(message_id) == ["queued"]


async def test_unsent_mail_is_cancelled_and_sent_mail_stays(service: Service, put_mail: Put, worker: UUID) -> None:
    half_sent = await put_mail("a@example.com", "b@example.com")
    await send_first_and_defer_second(worker, half_sent)
    waiting = await put_mail("c@example.com", "d@example.com")

    assert await remove_service(service.id, None, after(1), cancel_unsent=True) == 3
    assert await recipient_states(half_sent) == ["sent", "cancelled"]
    assert await recipient_states(waiting) == ["cancelled", "cancelled"]
    for message_id, state in ((half_sent, "partially_sent"), (waiting, "cancelled")):
        row = await message_row(message_id)
        assert (row["state"], row["due_at"], row["settled_at"]) == (state, None, after(1))
        assert (row["service_id"], row["service_name"]) == (None, "email")
    events = await rows("SELECT message_id FROM event WHERE type = 'cancelled'")
    assert len(events) == 3


async def test_mail_of_other_services_is_not_touched(service: Service, put_mail: Put) -> None:
    other = await make_service("other")
    message_id = await put_mail(service=other)
    assert await remove_service(service.id, None, NOW, cancel_unsent=True) == 0

    assert await recipient_states(message_id) == ["queued"]


@pytest.mark.parametrize("seconds", [59, 61])
async def test_mail_that_is_being_sent_is_not_cancelled(
    service: Service, put_mail: Put, worker: UUID, seconds: float
) -> None:
    waiting, sending = await put_mail(), await put_mail()
    claim = await claim_message(worker, sending, NOW, 60)
    with pytest.raises(Conflict, match="being sent right now") as refused:
        await remove_service(service.id, None, after(seconds), cancel_unsent=True)

    assert refused.value.problems[0].retryable
    assert claim is not None
    assert await recipient_states(waiting) == ["queued"]
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert await settle(claim, lambda _: [settlement], NOW, after(seconds)), "the worker lived"


@pytest.mark.parametrize("seconds", [70, 600])
async def test_the_mail_of_a_dead_worker_is_cancelled_a_grace_after_its_lease(
    service: Service, put_mail: Put, worker: UUID, seconds: float
) -> None:
    message_id = await put_mail()
    claim = await claim_message(worker, message_id, NOW, 60)
    assert claim is not None

    assert await remove_service(service.id, None, after(seconds), cancel_unsent=True, grace=10) == 1
    settlement = Settlement(claim.recipients[0].id, 1, RecipientState.SENT)
    assert not await settle(claim, lambda _: [settlement], NOW, after(seconds)), "its result comes too late"
    assert await recipient_states(message_id) == ["cancelled"]


async def test_mail_that_arrives_while_the_service_is_removed_is_refused(
    service: Service, principal: Principal, engine: EmbeddedEngine
) -> None:
    async with transaction():
        await remove_service(service.id, None, NOW)
        if dialect() == "postgres":
            # Started in a context of its own: it must not take part in this transaction.
            arriving = asyncio.get_running_loop().create_task(_put(service, principal, engine), context=Context())
            while not await _someone_waits():  # noqa: ASYNC110 - for the server, not for this process
                await asyncio.sleep(0)
    refusal = await (arriving if dialect() == "postgres" else _put(service, principal, engine))

    assert isinstance(refusal, NotFound)
    assert await count("message") == 0


async def test_of_a_removal_and_many_mails_at_once_no_mail_is_left_behind(
    service: Service, principal: Principal, engine: EmbeddedEngine
) -> None:
    arriving = [_put(service, principal, engine) for _ in range(10)]
    arriving.insert(3, _refusal(remove_service(service.id, None, NOW, cancel_unsent=True)))
    answers = await asyncio.gather(*arriving)

    assert answers[3] is None
    accepted = [answer for answer in answers if answer is None]
    assert await count("message") == len(accepted) - 1
    assert not await rows("SELECT id FROM message WHERE settled_at IS NULL")


async def test_messages_of_a_removed_service_are_found_by_those_who_see_all(
    service: Service, principal: Principal, put_mail: Put
) -> None:
    message_id = await put_mail()
    await remove_service(service.id, None, NOW, cancel_unsent=True)
    scope = visible_services(principal, Action.READ_MESSAGES)

    found = await list_messages(scope, MessageFilter(), after=None, limit=10)
    assert [(message.id, message.service_id, message.service_name) for message in found] == [
        (message_id, None, "email")
    ]


async def _put(service: Service, principal: Principal, engine: EmbeddedEngine) -> Refusal | None:
    return await _refusal(put(new_message(service, principal), NOW, engine))


async def _refusal(work: Awaitable[object]) -> Refusal | None:
    try:
        await work
    except Refusal as refusal:
        return refusal
    return None


async def _someone_waits() -> bool:
    return bool(
        await rows("SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
    )

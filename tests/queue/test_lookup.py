"""Reading messages: what a scope covers, what a filter wants, and pages that stay put."""

from uuid import UUID

import pytest

from app.access.policy import ServiceScope
from app.queue.claim import claim_message
from app.queue.lookup import MessageFilter, find_message, list_attempts, list_messages, list_recipients
from app.queue.settle import Settlement, settle
from app.queue.states import MessageState, RecipientState
from app.services.models import Service
from tests.factories import NOW, after, make_service
from tests.queue.conftest import Put

EVERYWHERE = ServiceScope(all=True, service_ids=frozenset())
NOWHERE = ServiceScope(all=False, service_ids=frozenset())


async def listed(wanted: MessageFilter, scope: ServiceScope = EVERYWHERE) -> list[UUID]:
    return [message.id for message in await list_messages(scope, wanted, after=None, limit=100)]


async def send(worker: UUID, message_id: UUID) -> None:
    claim = await claim_message(worker, message_id, after(3600), 60)
    assert claim is not None
    settlements = [Settlement(r.id, r.number, RecipientState.SENT) for r in claim.recipients]
    assert await settle(claim, lambda _: settlements, NOW, NOW)


async def test_a_message_is_read_as_it_was_put(put_mail: Put, service: Service) -> None:
    message_id = await put_mail(metadata={"order": {"id": 7, "ü": None}}, tags=["a", "b"], subject=None)
    found = await find_message(message_id, EVERYWHERE)

    assert found is not None
    assert (found.service_id, found.service_name, found.state) == (service.id, "email", MessageState.QUEUED)
    assert (found.from_email, found.from_name, found.subject) == ("ada@example.com", "Ada", None)
    assert (found.metadata, found.tags) == ({"order": {"id": 7, "ü": None}}, ["a", "b"])
    assert (found.created_at, found.settled_at, found.size_bytes) == (NOW, None, 29)
    assert [found] == await list_messages(EVERYWHERE, MessageFilter(), after=None, limit=100)


async def test_a_scope_covers_services(put_mail: Put, service: Service) -> None:
    other = await make_service("other")
    mine, theirs = await put_mail(), await put_mail(service=other)
    only_mine = ServiceScope(all=False, service_ids=frozenset({service.id}))
    all_but_mine = ServiceScope(all=True, service_ids=frozenset({service.id}))

    for scope, seen in ((EVERYWHERE, [theirs, mine]), (only_mine, [mine]), (all_but_mine, [theirs]), (NOWHERE, [])):
        assert await listed(MessageFilter(), scope) == seen
        assert [key for key in (theirs, mine) if await find_message(key, scope)] == seen


async def test_every_condition_of_a_filter_must_hold(put_mail: Put, worker: UUID) -> None:
    other = await make_service("other")
    first = await put_mail("bob@example.com", "eve@example.com", tags=["order", "ü"])
    second = await put_mail("bob@example.com", moment=after(10), service=other, tags=["Order"])
    third = await put_mail("Bob@example.com", moment=after(20), tags=['say "hi"'])
    await send(worker, third)
    cases = [
        (MessageFilter(), [third, second, first]),
        (MessageFilter(service_name="OTHER"), [second]),
        (MessageFilter(state=MessageState.SENT), [third]),
        (MessageFilter(state=MessageState.QUEUED), [second, first]),
        (MessageFilter(recipient="bob@example.com"), [second, first]),
        (MessageFilter(recipient="bob"), []),
        (MessageFilter(tag="order"), [first]),
        (MessageFilter(tag="ü"), [first]),
        (MessageFilter(tag='say "hi"'), [third]),
        (MessageFilter(created_from=after(10)), [third, second]),
        (MessageFilter(created_before=after(10)), [first]),
        (MessageFilter(created_from=after(1), created_before=after(20)), [second]),
        (MessageFilter("email", MessageState.QUEUED, "eve@example.com", "order", NOW, after(1)), [first]),
        (MessageFilter("email", MessageState.SENT, "eve@example.com"), []),
    ]
    for wanted, found in cases:
        assert await listed(wanted) == found, wanted


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
async def test_what_cannot_be_stored_is_not_found(put_mail: Put, text: str) -> None:
    await put_mail()
    for wanted in (MessageFilter(service_name=text), MessageFilter(recipient=text), MessageFilter(tag=text)):
        assert await listed(wanted) == []


async def test_pages_stay_put_while_mail_arrives(put_mail: Put) -> None:
    keys = [await put_mail() for _ in range(5)]
    seen: list[UUID] = []
    while page := await list_messages(EVERYWHERE, MessageFilter(), after=seen[-1] if seen else None, limit=2):
        seen += [message.id for message in page]
        await put_mail()

    assert seen == keys[::-1]


async def test_recipients_and_attempts_come_by_their_message(put_mail: Put, worker: UUID) -> None:
    first, second = await put_mail("b@example.com", "a@example.com"), await put_mail()
    await send(worker, first)

    recipients = await list_recipients([second, first])
    assert [recipient.email for recipient in recipients[first]] == ["b@example.com", "a@example.com"]
    assert [recipient.message_id for recipient in recipients[second]] == [second]
    attempts = await list_attempts([second, first])
    assert set(attempts) == {recipient.id for recipient in recipients[first]}
    assert not await list_recipients([])
    assert not await list_attempts([])

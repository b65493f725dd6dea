"""Accepting a mail is one transaction: all rows or none, and an idempotency key accepts once."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from app.access.manage import delete_role
from app.access.principal import Principal
from app.database.connection import as_key
from app.database.key import new_key
from app.errors import Conflict, ErrorCode, NotFound, Unauthenticated
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Engine, Job
from app.queue.lookup import list_recipients
from app.queue.put import Idempotency, find_receipt, put, put_together
from app.queue.remove import remove_service
from app.queue.route import keys_of
from app.queue.schedule import Schedule
from app.services.models import Service
from app.templates.content import TemplateContent, UsedTemplate
from tests.factories import NOW, after, count, message_row, new_message, recipient_states, stored_content
from tests.queue.conftest import Put

TABLES = ("message", "message_content", "recipient", "idempotency_key", "event")
DAY = timedelta(days=1)


def keyed(key: str = "order 1", digest: str = "d1", seconds: float = 0) -> Idempotency:
    return Idempotency(key, digest, after(seconds) - DAY)


@pytest.fixture
def engine(engine_of_database: Engine) -> Engine:
    return engine_of_database


async def counts() -> list[int]:
    return [await count(table) for table in TABLES]


class BrokenEngine(EmbeddedEngine):
    async def submit(self, jobs: Sequence[Job]) -> None:
        assert await counts() == [1, 1, 2, 1, 1], "the engine is asked last, inside the transaction"
        raise OSError("the engine is broken")


async def test_everything_about_a_mail_is_stored_at_once(put_mail: Put) -> None:
    message_id = await put_mail(
        "bob@example.com", "eve@example.com", metadata={"order": [1, "ü"]}, tags=["a"], idempotency=keyed()
    )

    assert await counts() == [1, 1, 2, 1, 1]
    row = await message_row(message_id)
    assert (row["state"], row["due_at"], row["created_at"], row["settled_at"]) == ("queued", NOW, NOW, None)
    assert (row["fence"], row["lease_owner"], row["size_bytes"]) == (0, None, 29)
    assert await stored_content(message_id) == b"Subject: Hello\r\n\r\nIt works.\r\n"
    recipients = (await list_recipients([message_id]))[message_id]
    assert [(r.email, r.state, r.attempt_number, r.next_attempt_at) for r in recipients] == [
        ("bob@example.com", "queued", 0, NOW),
        ("eve@example.com", "queued", 0, NOW),
    ]


async def test_what_only_one_mail_of_several_has_is_null_of_the_others(
    service: Service, principal: Principal, engine: Engine
) -> None:
    template = UsedTemplate(new_key(), "welcome", 3, TemplateContent())
    usual, other = new_message(service, principal), new_message(service, principal, template=template)
    timed = new_message(service, principal, schedule=Schedule(after(5), after(9)), fallbacks=[new_key()])
    names = ("template_id", "template_name", "template_version", "scheduled_at", "expires_at", "route_reason")
    for messages in ([usual], [other, replace(usual, id=new_key()), timed]):
        await put_together(lambda messages=messages: messages, lambda: NOW, engine)  # type: ignore[misc]
        for message in messages:
            row = await message_row(message.id)
            given = (as_key(row["template_id"]), *(row[name] for name in names[1:]), keys_of(row["fallbacks"]))
            assert given == {
                other.id: (template.id, "welcome", 3, None, None, None, ()),
                timed.id: (None, None, None, after(5), after(9), None, tuple(timed.fallbacks)),
            }.get(message.id, (*[None] * 6, ()))
            assert (row["on_doubt"], row["priority"], row["subject"]) == ("retry", 1, "Hello")


async def test_nothing_is_stored_when_the_engine_refuses(service: Service, principal: Principal, wakeup: Any) -> None:
    message = new_message(service, principal, "a@example.com", "b@example.com", idempotency=keyed())
    with pytest.raises(OSError, match="the engine is broken"):
        await put(message, NOW, BrokenEngine(wakeup, 1))

    assert await counts() == [0, 0, 0, 0, 0]


async def test_the_same_request_with_the_same_key_gets_the_same_receipt(
    service: Service, principal: Principal, engine: Engine
) -> None:
    first = await put(new_message(service, principal, idempotency=keyed()), NOW, engine)
    again = await put(new_message(service, principal, idempotency=keyed()), after(1), engine)

    assert (again.message_id, first.replayed, again.replayed) == (first.message_id, False, True)
    assert await find_receipt(principal.role_id, keyed()) == again
    assert await counts() == [1, 1, 1, 1, 1]


async def test_another_request_with_the_same_key_is_a_conflict(
    service: Service, principal: Principal, engine: Engine
) -> None:
    await put(new_message(service, principal, idempotency=keyed()), NOW, engine)
    for refused in (
        put(new_message(service, principal, idempotency=keyed(digest="d2")), NOW, engine),
        find_receipt(principal.role_id, keyed(digest="d2")),
    ):
        with pytest.raises(Conflict, match="'order 1' was used for another request") as conflict:
            await refused
        assert conflict.value.problems[0].code is ErrorCode.IDEMPOTENCY_CONFLICT

    assert await count("message") == 1


async def test_a_key_belongs_to_its_role(service: Service, principal: Principal, engine: Engine) -> None:
    await put(new_message(service, principal, idempotency=keyed()), NOW, engine)

    assert await find_receipt(service.id, keyed()) is None


async def test_an_expired_key_can_be_used_for_another_request(
    service: Service, principal: Principal, engine: Engine
) -> None:
    first = await put(new_message(service, principal, idempotency=keyed()), NOW, engine)
    later = keyed(digest="d2", seconds=86400.5)
    second = await put(new_message(service, principal, idempotency=later), after(86400.5), engine)

    assert second.message_id != first.message_id
    assert not second.replayed
    assert await count("idempotency_key") == 1


async def test_fifty_at_once_with_one_key_make_one_message(
    service: Service, principal: Principal, engine: Engine
) -> None:
    messages = [new_message(service, principal, idempotency=keyed()) for _ in range(50)]
    receipts = await asyncio.gather(*(put(message, NOW, engine) for message in messages))

    assert len({receipt.message_id for receipt in receipts}) == 1
    assert [receipt.replayed for receipt in receipts].count(False) == 1
    assert await counts() == [1, 1, 1, 1, 1]


async def test_many_at_once_with_one_key_and_different_requests_make_one_message(
    service: Service, principal: Principal, engine: Engine
) -> None:
    messages = [new_message(service, principal, idempotency=keyed(digest=str(number))) for number in range(10)]
    answers = await asyncio.gather(*(put(message, NOW, engine) for message in messages), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict"] * 9 + ["Receipt"]
    assert await count("message") == 1


async def test_a_service_that_is_gone_is_not_found(service: Service, principal: Principal, engine: Engine) -> None:
    await remove_service(service.id, None, NOW)
    with pytest.raises(NotFound, match="Could not find a service for email"):
        await put(new_message(service, principal), NOW, engine)


async def test_an_api_key_that_is_gone_is_refused(service: Service, principal: Principal, engine: Engine) -> None:
    await delete_role(principal.role_id, None)
    with pytest.raises(Unauthenticated, match="Invalid API key"):
        await put(new_message(service, principal), NOW, engine)


async def test_any_other_integrity_error_is_not_hidden(put_mail: Put) -> None:
    message_id = await put_mail()
    with pytest.raises(Exception, match=r"(?i)unique") as error:
        await put_mail(id=message_id)
    assert type(error.value).__name__ == "IntegrityError"
    assert await recipient_states(message_id) == ["queued"]

"""What is accepted is counted, in the same transaction; what is refused, replayed or rolled back is not."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from app.access.principal import Principal
from app.access.quota import Quota, Scope, Standing, read_standings
from app.database.key import new_key
from app.errors import RateLimited
from app.limits.window import Span
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Engine, Job
from app.queue.put import Idempotency, Receipt, put
from app.queue.wakeup import Wakeup
from app.services.models import Service
from tests.factories import NOW, after, count, new_message

EMAILS = [f"{number}@example.com" for number in range(10)]
KEYED = Idempotency("order 1", "d1", after(-3600))
QUOTA = Quota(Scope.ROLE, "role 'shop'", UUID(int=7), {Span.MINUTE: 10})


@pytest.fixture
def engine(engine_of_database: Engine) -> Engine:
    return engine_of_database


async def used() -> int:
    (standing,) = await read_standings([QUOTA], NOW)
    return standing.used


async def test_every_recipient_counts(service: Service, principal: Principal, engine: Engine) -> None:
    receipt = await put(new_message(service, principal, *EMAILS[:7], quotas=[QUOTA]), NOW, engine)
    assert receipt.tightest == Standing(Scope.ROLE, Span.MINUTE, 10, 7, after(61))
    assert await used() == 7
    assert (await put(new_message(service, principal), NOW, engine)).tightest is None


async def test_what_is_over_the_limit_leaves_nothing(service: Service, principal: Principal, engine: Engine) -> None:
    message = new_message(service, principal, *EMAILS, "one@example.com", quotas=[QUOTA], idempotency=KEYED)
    with pytest.raises(RateLimited):
        await put(message, NOW, engine)
    tables = ("message", "message_content", "recipient", "idempotency_key", "event", "counter", "pace")
    assert [await count(table) for table in tables] == [0] * 7


async def test_a_replay_takes_nothing_and_passes_where_nothing_is_free(
    service: Service, principal: Principal, engine: Engine
) -> None:
    """Fifty at once: all but one find the key while, or after, the first fills the limit."""
    mails = [new_message(service, principal, *EMAILS, quotas=[QUOTA], idempotency=KEYED) for _ in range(50)]
    receipts = await asyncio.gather(*(put(mail, NOW, engine) for mail in mails))

    assert [receipt.replayed for receipt in receipts].count(False) == 1
    assert len({receipt.message_id for receipt in receipts}) == 1
    assert await used() == 10


async def test_of_many_at_once_exactly_the_limit_passes(service: Service, principal: Principal, engine: Engine) -> None:
    key = Quota(Scope.API_KEY, "API key 'web'", new_key(), {Span.HOUR: 30})
    mails = [
        new_message(service, principal, *EMAILS[: 1 + number % 3], quotas=[QUOTA, key][:: (-1) ** number])
        for number in range(40)
    ]
    answers = await asyncio.gather(*(put(mail, NOW, engine) for mail in mails), return_exceptions=True)

    assert {type(answer) for answer in answers} == {Receipt, RateLimited}
    assert await used() == await count("recipient") == 10


class BrokenEngine(EmbeddedEngine):
    """Fails where the transaction has done everything else."""

    async def submit(self, jobs: Sequence[Job]) -> None:
        raise OSError("the engine is broken")


async def test_what_is_taken_goes_with_its_transaction(service: Service, principal: Principal, wakeup: Wakeup) -> None:
    with pytest.raises(OSError, match="broken"):
        await put(new_message(service, principal, quotas=[QUOTA]), NOW, BrokenEngine(wakeup, 1))
    assert (await used(), await count("message")) == (0, 0)

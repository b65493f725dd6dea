"""Mails that come at the same time share transactions, and each has the answer that it would have had alone."""

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from app.access.principal import Principal
from app.access.quota import Quota, Scope
from app.clock import now
from app.database.connection import dialect, execute, transaction
from app.database.key import new_key
from app.database.revision import Outdated, read_revision
from app.errors import Conflict, NotFound, RateLimited
from app.limits.window import Span
from app.queue.acceptance import Acceptance
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Engine, Job
from app.queue.put import Idempotency, NewMessage, Receipt
from app.services.models import Service
from tests.factories import after, count, new_message
from tests.statements import told

EMAILS = [f"{number}@example.com" for number in range(10)]


@pytest.fixture
def engine(engine_of_database: Engine) -> Engine:
    return engine_of_database


@pytest.fixture
def acceptance(engine: Engine) -> Acceptance:
    return Acceptance(engine, most=100, lanes=1)


async def accept(acceptance: Acceptance, mails: Sequence[NewMessage]) -> list[object]:
    """Put all of them while the database is busy, so that they wait together."""
    async with transaction():
        waiting = [asyncio.create_task(acceptance.put(mail), context=Context()) for mail in mails]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return list(await asyncio.gather(*waiting, return_exceptions=True))


async def test_each_has_its_own_answer(service: Service, principal: Principal, acceptance: Acceptance) -> None:
    """One quota has room for two of three; one key is used twice for one request, another one for two requests."""
    quota = Quota(Scope.ROLE, "role 'shop'", new_key(), {Span.MINUTE: 20})
    keyed, other = Idempotency("order 1", "d1", after(-3600)), Idempotency("order 2", "d2", after(-3600))
    mails = [
        new_message(service, principal, *EMAILS, quotas=[quota]),
        new_message(service, principal, idempotency=keyed),
        new_message(service, principal, *EMAILS, quotas=[quota]),
        new_message(service, principal, idempotency=other),
        new_message(service, principal, *EMAILS, quotas=[quota]),
        new_message(service, principal, idempotency=keyed),
        new_message(service, principal, idempotency=dataclasses.replace(other, digest="another")),
        new_message(service, principal, revision=await read_revision() - 1),
        new_message(service, principal, revision=await read_revision()),
    ]
    answers = await accept(acceptance, mails)

    kinds = [Receipt, Receipt, Receipt, Receipt, RateLimited, Receipt, Conflict, Outdated, Receipt]
    assert [type(answer) for answer in answers] == kinds
    receipts = [answer for answer in answers if isinstance(answer, Receipt)]
    assert [receipt.message_id for receipt in receipts] == [mails[place].id for place in (0, 1, 2, 3, 1, 8)]
    assert [receipt.replayed for receipt in receipts] == [False, False, False, False, True, False]
    assert [receipt.tightest.remaining for receipt in receipts if receipt.tightest] == [10, 0]
    assert (await count("message"), await count("message_content"), await count("event")) == (5, 5, 5)
    assert await count("recipient") == 23


async def test_those_that_wait_together_share_a_commit(
    service: Service, principal: Principal, acceptance: Acceptance
) -> None:
    mails = [new_message(service, principal) for _ in range(50)]
    watched: AbstractAsyncContextManager[list[str]] = (
        told() if dialect() == "sqlite" else nullcontext([])
    )  # one connection, which can be watched
    async with watched as statements:
        answers = await accept(acceptance, mails)
    assert all(isinstance(answer, Receipt) for answer in answers)
    assert sum(statement == "COMMIT" for statement in statements) <= 3
    assert await count("message") == 50


async def test_no_lane_begins_for_mails_that_another_is_about_to_take(
    service: Service, principal: Principal, engine: Engine
) -> None:
    """On PostgreSQL the second begins for those that the first has left to it; on SQLite there is no second."""
    taken: list[int] = []
    acceptance = _Counting(engine, taken)
    for _ in range(2):
        answers = await accept(acceptance, [new_message(service, principal) for _ in range(20)])
        assert all(isinstance(answer, Receipt) for answer in answers)
    assert taken == {"sqlite": [20, 20], "postgres": [7, 7, 6, 7, 7, 6]}[dialect()]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_on_sqlite_one_transaction_at_a_time_puts_mail(
    service: Service, principal: Principal, engine: Engine
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def clock() -> datetime:  # the transaction has taken its mails then
        begun.set()
        may_end.wait(60)
        return now()

    acceptance = Acceptance(engine, lanes=3, clock=clock)
    waiting = [asyncio.create_task(acceptance.put(new_message(service, principal)), context=Context())]
    await asyncio.to_thread(begun.wait, 60)
    waiting += [asyncio.create_task(acceptance.put(new_message(service, principal)), context=Context())]
    await asyncio.sleep(0)
    assert acceptance._busy_lanes == 1
    may_end.set()
    await asyncio.gather(*waiting)
    assert await count("message") == 2
    assert acceptance._busy_lanes == 0


class _Counting(Acceptance):
    """With three lanes; counts what each takes."""

    def __init__(self, engine: Engine, taken: list[int]) -> None:
        super().__init__(engine, most=100, lanes=3)
        self._taken = taken

    def _next_group(self, most: int) -> list[Any]:
        group = super()._next_group(most)
        self._taken.append(len(group))
        return group


async def test_one_whose_service_is_gone_is_refused_alone(
    service: Service, principal: Principal, acceptance: Acceptance
) -> None:
    mails = [new_message(service, principal) for _ in range(3)]
    mails[1] = replace(mails[1], service_id=new_key())
    answers = await accept(acceptance, mails)
    assert [type(answer) for answer in answers] == [Receipt, NotFound, Receipt]
    assert await count("message") == 2


async def test_one_that_nobody_waits_for_any_more_is_not_accepted(
    service: Service, principal: Principal, acceptance: Acceptance
) -> None:
    mails = [new_message(service, principal) for _ in range(3)]
    async with transaction():
        waiting = [asyncio.create_task(acceptance.put(mail), context=Context()) for mail in mails]
        await asyncio.sleep(0)
        if dialect() == "sqlite":  # PostgreSQL has taken them
            waiting[1].cancel()
            await asyncio.sleep(0)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    accepted = sum(isinstance(answer, Receipt) for answer in answers)
    assert await count("message") == accepted == (2 if dialect() == "sqlite" else 3)


class BrokenEngine(EmbeddedEngine):
    """Fails for one message, where the transaction has done everything else."""

    broken: object = None

    async def submit(self, jobs: Sequence[Job]) -> None:
        if any(job.message_id == self.broken for job in jobs):
            raise LookupError("the engine is broken")


async def test_a_bug_that_one_mail_meets_is_no_other_ones(
    service: Service, principal: Principal, wakeup: object
) -> None:
    engine = BrokenEngine(wakeup, 1)  # type: ignore[arg-type]
    mails = [new_message(service, principal) for _ in range(4)]
    engine.broken = mails[2].id
    answers = await accept(Acceptance(engine, lanes=1), mails)
    assert [type(answer) for answer in answers] == [Receipt, Receipt, LookupError, Receipt]
    assert await count("message") == 3


async def test_the_lanes_go_on_after_trouble(service: Service, principal: Principal, acceptance: Acceptance) -> None:
    await execute("ALTER TABLE message_content RENAME TO elsewhere")
    answers = await accept(acceptance, [new_message(service, principal) for _ in range(2)])
    assert all(isinstance(answer, Exception) for answer in answers)
    await execute("ALTER TABLE elsewhere RENAME TO message_content")
    assert isinstance(await acceptance.put(new_message(service, principal)), Receipt)
    assert await count("message") == 1

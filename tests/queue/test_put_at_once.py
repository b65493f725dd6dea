"""On PostgreSQL, what one statement accepts is what the transaction that decides would have accepted, row by row."""

import asyncio
import dataclasses
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.access.principal import Principal
from app.access.quota import Quota, Scope, read_standings
from app.database.connection import execute, rows, transaction
from app.database.jobs import JOBS_TABLE
from app.database.key import new_key
from app.database.revision import read_revision
from app.errors import Conflict, NotFound, RateLimited
from app.limits.counter import lock_subject
from app.limits.window import Limits, Span
from app.queue.acceptance import Acceptance
from app.queue.content import SlicedContent
from app.queue.pgqueuer import PgQueuerEngine
from app.queue.put import Idempotency, NewMessage, Outcome, Receipt, _put, put, put_together
from app.queue.put_at_once import put_at_once
from app.queue.schedule import Schedule
from app.services.circuit import CircuitPolicy, Fault, close_circuit, open_circuit
from app.services.models import Service
from app.settings import Settings
from tests.factories import NOW, after, count, make_service, new_message

T = TypeVar("T")

DAY = timedelta(days=1)
EMAILS = [f"{number}@example.com" for number in range(10)]
SCOPES = (Scope.ROLE, Scope.GRANT, Scope.API_KEY)
MADE = {
    "message": "",
    "message_content": "",
    "recipient": "id",
    "idempotency_key": "id",
    "event": "id",
    "counter": "id",
    "pace": "",
    JOBS_TABLE: "id, created, updated, heartbeat, execute_after",
}
"""The tables that mails are put into, with the columns that no two runs have alike."""


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
def engine(settings: Settings) -> PgQueuerEngine:
    return PgQueuerEngine(settings)


@pytest.fixture
async def quotas(database: Settings) -> tuple[Quota, ...]:
    """Of a role, its grant and its key, each with room for ten a minute; each was used before."""
    quotas = tuple(Quota(scope, scope.value, new_key(), {Span.MINUTE: 10, Span.DAY: 100}) for scope in SCOPES)
    await use(quotas)
    return quotas


async def use(quotas: Sequence[Quota]) -> None:
    for quota in quotas:
        async with transaction():
            await lock_subject(quota.subject)


async def stored() -> dict[str, list[str]]:
    """All that is in the tables that mails are put into."""
    found = {}
    for table, varying in MADE.items():
        without = f" - '{{{varying}}}'::text[]" if varying else ""
        sql = f"SELECT (to_jsonb(row){without})::text AS row FROM {table} AS row"
        found[table] = sorted(row["row"] for row in await rows(sql))
    return found


class _Undone(Exception):
    """Ends a transaction that is only tried out."""


async def decided(messages: Sequence[NewMessage], engine: PgQueuerEngine) -> tuple[list[Outcome], dict[str, list[str]]]:
    """What the transaction that decides says and stores; it is undone."""
    outcomes: list[Outcome] = []
    after_it: dict[str, list[str]] = {}
    with suppress(_Undone):
        async with transaction():
            try:
                outcomes += await _put(messages, NOW, engine)
            except Exception as nothing:
                outcomes += getattr(nothing, "outcomes", [])
            else:
                after_it |= await stored()
            raise _Undone
    return outcomes, after_it


def told(outcome: Outcome) -> object:
    return outcome if isinstance(outcome, Receipt) else (type(outcome), str(outcome))


some_limits = st.dictionaries(st.sampled_from(Span), st.integers(4, 30), min_size=1)
some_mails = st.lists(
    st.fixed_dictionaries(
        {
            "recipients": st.integers(1, 4),
            "quotas": st.sampled_from([(), (0,), (1, 2), (0, 1, 2)]),
            "key": st.sampled_from([*[None] * 8, *["new"] * 5, "used", "over", "other"]),
            "seconds": st.sampled_from([None, None, -5.0, 600.0]),
            "verdict_awaited": st.booleans(),
            "has_fallback": st.booleans(),
            "revision": st.sampled_from([None, *[0] * 12, 1]),
        }
    ),
    min_size=1,
    max_size=5,
)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    limits=st.lists(some_limits, min_size=3, max_size=3),
    groups=st.lists(some_mails, min_size=2, max_size=4),
    is_open=st.sampled_from([False, False, False, True]),
    is_used=st.sampled_from([False, True, True, True]),
    is_ahead=st.booleans(),
)
async def test_it_accepts_what_the_transaction_that_decides_accepts(
    service: Service,
    principal: Principal,
    engine: PgQueuerEngine,
    limits: list[Limits],
    groups: list[list[dict[str, Any]]],
    is_open: bool,
    is_used: bool,
    is_ahead: bool,
) -> None:
    """Else it leaves no trace; and it accepts where nothing is to be decided."""
    for table in MADE:
        await execute(f"DELETE FROM {table}")
    quotas = [Quota(scope, scope.value, new_key(), each) for scope, each in zip(SCOPES, limits, strict=True)]
    if is_used:
        await use(quotas)
        if is_ahead:  # the clock of another process
            await put(new_message(service, principal, quotas=quotas), after(90), engine)
    keys = {name: f"{name} {new_key()}" for name in ("new", "used", "over", "other")}
    for name, age in (("used", 0), ("over", 2), ("other", 0)):
        earlier = Idempotency(keys[name], "other" if name == "other" else "digest", NOW - 9 * DAY)
        await put(new_message(service, principal, idempotency=earlier), NOW - age * DAY, engine)
    fallback = await make_service(new_key().hex)
    if is_open:
        policy = CircuitPolicy()
        async with transaction():
            await open_circuit(service.id, service.version, Fault("Connection refused."), NOW, policy, probing=False)
    for number, group in enumerate(groups):
        keys["new"] = f"new {number}"
        messages = [await _message(mail, service, fallback, principal, quotas, keys) for mail in group]
        messages = _with_different_keys(messages)
        before = await stored()
        outcomes, stored_then = await decided(messages, engine)
        standings = await put_at_once(messages, NOW, engine)
        if standings is not None:
            event("accepted at once")
            assert await stored() == stored_then
            accepted = [Receipt(m.id, tightest=s) for m, s in zip(messages, standings, strict=True)]
            assert [told(outcome) for outcome in outcomes] == [
                dataclasses.replace(receipt, accepted_at=NOW) for receipt in accepted
            ]
        else:
            event("decided")
            assert await stored() == before
            assert not _is_usual(messages, outcomes, is_open=is_open, is_used=is_used)
            answers = await put_together(partial(list, messages), lambda: NOW, engine)
            assert [told(answer) for answer in answers] == [told(outcome) for outcome in outcomes]
    async with transaction():
        await close_circuit(service.id, service.version)


async def _message(
    mail: dict[str, Any],
    service: Service,
    fallback: Service,
    principal: Principal,
    quotas: Sequence[Quota],
    keys: dict[str, str],
) -> NewMessage:
    seconds, key = mail["seconds"], mail["key"]
    return new_message(
        service,
        principal,
        *EMAILS[: mail["recipients"]],
        quotas=[quotas[place] for place in mail["quotas"]],
        idempotency=None if key is None else Idempotency(keys[key], "digest", NOW - DAY),
        schedule=Schedule(None if seconds is None else after(seconds)),
        verdict_awaited=mail["verdict_awaited"],
        fallbacks=[fallback.id] if mail["has_fallback"] else [],
        revision=None if mail["revision"] is None else await read_revision() - mail["revision"],
        metadata={"order": 1},
    )


def _with_different_keys(messages: Sequence[NewMessage]) -> list[NewMessage]:
    """No two of a group have the same key."""
    seen: set[str] = set()
    different = []
    for message in messages:
        if message.idempotency is None or message.idempotency.key not in seen:
            seen |= {message.idempotency.key} if message.idempotency else set()
            different.append(message)
    return different


def _is_usual(messages: Sequence[NewMessage], outcomes: Sequence[Outcome], *, is_open: bool, is_used: bool) -> bool:
    """Whether nothing was to be decided about any of them."""
    accepted = all(isinstance(outcome, Receipt) and not outcome.replayed for outcome in outcomes)
    asks_of_circuit = is_open and any(message.verdict_awaited or message.fallbacks for message in messages)
    was_there = any(m.idempotency is not None and m.idempotency.key.startswith("over") for m in messages)
    return accepted and is_used and not asks_of_circuit and not was_there


async def test_what_another_transaction_takes_meanwhile_counts(
    service: Service, principal: Principal, engine: PgQueuerEngine, quotas: tuple[Quota, ...]
) -> None:
    """It waits for the lock, and then sees what the other one has counted: each alone would fit."""
    messages = [new_message(service, principal, *EMAILS[:6], quotas=quotas) for _ in range(2)]
    async with transaction():
        assert [type(outcome) for outcome in await _put(messages[:1], NOW, engine)] == [Receipt]
        waiting = outside(put(messages[1], NOW, engine))
        await _until_someone_waits()
    with pytest.raises(RateLimited):
        await waiting
    assert await count("recipient") == 6


async def test_a_key_that_another_transaction_uses_meanwhile_is_a_replay(
    service: Service, principal: Principal, engine: PgQueuerEngine
) -> None:
    keyed = Idempotency("order 1", "d1", NOW - DAY)
    messages = [new_message(service, principal, idempotency=keyed) for _ in range(3)]
    messages[2] = replace(messages[2], idempotency=dataclasses.replace(keyed, digest="d2"))
    async with transaction():
        assert [type(outcome) for outcome in await _put(messages[:1], NOW, engine)] == [Receipt]
        waiting = [outside(put(message, NOW, engine)) for message in messages[1:]]
        await _until_someone_waits(2)
    receipt, conflict = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(receipt, Receipt)
    assert (receipt.message_id, receipt.replayed) == (messages[0].id, True)
    assert isinstance(conflict, Conflict)
    assert await count("message") == 1


def outside(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """In no transaction, whoever begins it."""
    return asyncio.get_running_loop().create_task(work, context=Context())


async def _until_someone_waits(how_many: int = 1) -> None:
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    while len(await rows(waiting)) < how_many:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.01)


async def test_lanes_of_several_processes_never_take_more_than_the_limit(
    service: Service, principal: Principal, engine: PgQueuerEngine, quotas: tuple[Quota, ...]
) -> None:
    """Everybody locks in one order, whoever decides: nobody waits for one who waits for him."""
    grown = tuple(dataclasses.replace(quota, limits={Span.MINUTE: 150, Span.HOUR: 200}) for quota in quotas)
    lanes = [Acceptance(engine, most=7, lanes=3, clock=lambda: NOW) for _ in range(3)]
    mails = [
        new_message(
            service,
            principal,
            *EMAILS[: 1 + number % 3],
            quotas=grown[:: (-1) ** number],
            idempotency=Idempotency(f"order {number // 2}", "d", NOW - DAY) if number % 5 == 0 else None,
        )
        for number in range(200)
    ]
    answers = await asyncio.gather(
        *(lanes[number // 3 % 3].put(mail) for number, mail in enumerate(mails)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {Receipt, RateLimited}
    (used,) = {standing.used for standing in await read_standings(grown, NOW)}
    assert used == await count("recipient") == 150


async def test_it_accepts_nothing_where_one_service_is_gone(
    service: Service, principal: Principal, engine: PgQueuerEngine
) -> None:
    gone = replace(new_message(service, principal), service_id=new_key())
    assert await put_at_once([new_message(service, principal), gone], NOW, engine) is None
    assert await count("message") == 0
    with pytest.raises(NotFound):
        await put(gone, NOW, engine)


async def test_large_mails_are_left_to_the_transaction_that_decides(
    service: Service, principal: Principal, engine: PgQueuerEngine
) -> None:
    sliced = SlicedContent(new_key(), 29)
    large = new_message(service, principal, content=sliced)
    assert await put_at_once([large], NOW, engine) is None
    await execute("INSERT INTO large_content (id, begun_at) VALUES ($1, $2)", sliced.id, NOW)
    assert (await put(large, NOW, engine)).message_id == large.id
    assert await count("message_content") == 0


async def test_who_is_cancelled_is_accepted_once_it_has_begun(
    service: Service, principal: Principal, engine: PgQueuerEngine, quotas: tuple[Quota, ...]
) -> None:
    async with transaction():
        await lock_subject(quotas[0].subject)
        waiting = outside(put_at_once([new_message(service, principal, quotas=quotas)], NOW, engine))
        await _until_someone_waits()
        waiting.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await count("message") == 1

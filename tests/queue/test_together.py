"""What is done for many mails in one transaction is what is done for each alone."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import structs

from app.access.principal import Principal
from app.database import group_commit
from app.database.connection import as_moment, execute, rows, transaction
from app.database.key import new_key
from app.mail.reply import Reply
from app.queue import settle_together
from app.queue.acceptance import Acceptance
from app.queue.claim import Claim, claim_message
from app.queue.claim_together import PlainClaims, Wanted
from app.queue.embedded import EmbeddedEngine
from app.queue.joint_commit import JointCommit
from app.queue.lock import row_lock
from app.queue.schedule import Schedule
from app.queue.settle import Settlement, settle
from app.queue.settle_together import FinalResults, Unwritten
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.services.models import Service
from tests.factories import NOW, after, make_service, message_row, new_message, recipient_states
from tests.queue.conftest import Put

LEASE = 60.0


async def claimed_together(worker: UUID, moment: datetime, *message_ids: UUID) -> list[Claim | None]:
    claims = PlainClaims(worker, LEASE)
    wanted = [Wanted(message_id, moment) for message_id in message_ids]
    await asyncio.gather(*(claims.make(each) for each in wanted))
    return [each.claim for each in wanted]


async def everything(message_id: UUID) -> list[dict[str, Any]]:
    """What is stored of a message, but for its keys."""
    found = [await message_row(message_id)]
    for table, order in (("recipient", "position"), ("attempt", "recipient_id"), ("event", "recipient_id, type")):
        found += await rows(f"SELECT * FROM {table} WHERE message_id = $1 ORDER BY {order}", message_id)
    keys = {"id", "message_id", "recipient_id", "message_id_header"}
    return [{name: value for name, value in row.items() if name not in keys} for row in found]


async def claim_both_ways(put_mail: Put, worker: UUID, *emails: str, **given: Any) -> tuple[Claim, Claim]:
    alone, together = await put_mail(*emails, **given), await put_mail(*emails, **given)
    one = await claim_message(worker, alone, after(1), LEASE)
    (other,) = await claimed_together(worker, after(1), together)
    assert one is not None
    assert other is not None
    return one, other


@pytest.mark.parametrize("emails", [(), ("a@example.com", "b@example.com", "c@example.com")])
async def test_a_claim_is_the_same_either_way(put_mail: Put, worker: UUID, emails: tuple[str, ...]) -> None:
    one, other = await claim_both_ways(put_mail, worker, *emails)
    assert other.content == b"Subject: Hello\r\n\r\nIt works.\r\n"
    differ = {"message_id", "recipients", "content"}
    for field in structs.fields(Claim):
        if field.name not in differ:
            assert getattr(one, field.name) == getattr(other, field.name), field.name
    assert [(r.address, r.number, r.tried_since) for r in one.recipients] == [
        (r.address, r.number, r.tried_since) for r in other.recipients
    ]
    assert await everything(one.message_id) == await everything(other.message_id)


async def test_what_was_deferred_is_claimed_again_and_what_was_settled_is_not(put_mail: Put, worker: UUID) -> None:
    both = await claim_both_ways(put_mail, worker, "a@example.com", "b@example.com")
    for claim in both:
        settlements = [
            Settlement(claim.recipients[0].id, 1, RecipientState.SENT, reply=Reply(250, "taken")),
            Settlement(claim.recipients[1].id, 1, RecipientState.DEFERRED, after(30), Reply(451, "later")),
        ]
        assert await settle(claim, lambda _, made=settlements: made, after(1), after(2))  # type: ignore[misc]
    one = await claim_message(worker, both[0].message_id, after(30), LEASE)
    (other,) = await claimed_together(worker, after(30), both[1].message_id)
    assert one is not None
    assert other is not None
    assert [(r.address, r.number, r.tried_since) for r in other.recipients] == [("b@example.com", 2, after(1))]
    assert (one.recipient_count, other.recipient_count) == (2, 2)
    assert await everything(one.message_id) == await everything(other.message_id)


Obstacle = Callable[[UUID, Service], Awaitable[object]]


def _sql(statement: str, *arguments: object) -> Obstacle:
    return lambda message_id, service: execute(statement.format(m=message_id, s=service.id), *arguments)


OBSTACLES: dict[str, Obstacle] = {
    "not due": _sql("UPDATE message SET due_at = $1 WHERE id = '{m}'", after(2)),
    "leased": _sql("UPDATE message SET lease_until = $1, due_at = $2 WHERE id = '{m}'", after(1), after(1)),
    "expired": _sql("UPDATE message SET expires_at = $1 WHERE id = '{m}'", after(1)),
    "inactive": _sql("UPDATE service SET is_active = $1 WHERE id = '{s}'", False),
    "paused": _sql("UPDATE service SET paused_at = $1 WHERE id = '{s}'", NOW),
    "paced": _sql("UPDATE service SET recipients_per_hour = 5 WHERE id = '{s}'"),
    "slow": _sql("UPDATE service SET messages_per_second = 5 WHERE id = '{s}'"),
    "over its limits": _sql("INSERT INTO pace (subject, free_at) VALUES ('{s}', $1)", after(2)),
    "open circuit": _sql("INSERT INTO circuit (service_id, probe_at, auth_after) VALUES ('{s}', $1, $1)", NOW),
    "gone": _sql("UPDATE message SET route_id = '{m}' WHERE id = '{m}'"),
}


@pytest.mark.parametrize("name", OBSTACLES)
async def test_what_has_something_in_its_way_is_left_to_the_claim_of_it_alone(
    put_mail: Put, worker: UUID, service: Service, name: str
) -> None:
    other = await make_service("other")
    message_id, free = await put_mail(), await put_mail(service=other)
    await OBSTACLES[name](message_id, service)
    before = await everything(message_id)
    assert [claim is not None for claim in await claimed_together(worker, after(1), message_id, free)] == [False, True]
    assert await everything(message_id) == before


async def test_what_has_no_recipient_that_is_due_is_given_back_until_one_is(put_mail: Put, worker: UUID) -> None:
    empty, free = await put_mail(), await put_mail()
    await execute("UPDATE recipient SET due_at = $2 WHERE message_id = $1", empty, after(30))
    assert [claim is not None for claim in await claimed_together(worker, after(1), empty, free)] == [False, True]
    row = await message_row(empty)
    assert (row["state"], row["lease_owner"], as_moment(row["due_at"])) == ("queued", None, after(30))
    (claim,) = await claimed_together(worker, after(30), empty)
    assert claim is not None


async def test_mail_that_stands_at_a_fallback_is_claimed_for_that(
    put_mail: Put, worker: UUID, service: Service
) -> None:
    other = await make_service("other")
    message_id = await put_mail(fallbacks=[other.id], schedule=Schedule(expires_at=after(90)))
    statement = "UPDATE message SET route_id = $2, route_reason = 'It is down.' WHERE id = $1"
    await execute(statement, message_id, other.id)
    (claim,) = await claimed_together(worker, after(1), message_id)
    assert claim is not None
    assert (claim.service_id, claim.own_service_id, claim.expires_at) == (other.id, service.id, after(90))
    assert claim.via is not None
    assert (claim.via.service_name, claim.via.reason, claim.fallbacks) == ("other", "It is down.", (other.id,))


@pytest.fixture
async def fallback(service: Service) -> Service:
    return await make_service("other")


replies = st.sampled_from([Reply(250, "taken", "2.0.0"), Reply(250, ""), Reply(550, "no such user", "5.1.1")])


def _settlements(claim: Claim, made: Sequence[Reply]) -> list[Settlement]:
    return [
        Settlement(r.id, r.number, RecipientState.SENT if reply.code == 250 else RecipientState.FAILED, reply=reply)
        for r, reply in zip(claim.recipients, made, strict=True)
    ]


@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mails=st.lists(st.tuples(st.booleans(), st.lists(replies, min_size=1, max_size=3)), min_size=1, max_size=4),
)
async def test_final_results_are_the_same_either_way(
    put_mail: Put, worker: UUID, fallback: Service, mails: list[tuple[bool, list[Reply]]]
) -> None:
    finals = FinalResults()

    async def written(by_fallback: bool, made: Sequence[Reply], through: FinalResults | None) -> UUID:
        message_id = await put_mail(*(f"{place}@example.com" for place in range(len(made))))
        if by_fallback:
            await execute(
                "UPDATE message SET route_id = $2, route_reason = 'It is down.' WHERE id = $1", message_id, fallback.id
            )
        claim = await claim_message(worker, message_id, after(1), LEASE)
        assert claim is not None
        settlements = _settlements(claim, made)
        if through is not None:
            assert await through.write(claim, settlements, after(2), after(3))
        else:
            assert await settle(claim, lambda _: settlements, after(2), after(3))
        return message_id

    together = await asyncio.gather(*(written(*mail, finals) for mail in mails))
    for message_id, mail in zip(together, mails, strict=True):
        assert await everything(message_id) == await everything(await written(*mail, None))


async def test_what_is_not_final_or_not_held_any_more_is_not_written(put_mail: Put, worker: UUID) -> None:
    finals, taken = FinalResults(), Reply(250, "taken")
    (part,) = await claimed_together(worker, after(1), await put_mail("a@example.com", "b@example.com"))
    (lost,) = await claimed_together(worker, after(1), await put_mail())
    (held,) = await claimed_together(worker, after(1), await put_mail())
    assert part is not None
    assert lost is not None
    assert held is not None
    assert await claim_message(new_key(), lost.message_id, after(100), LEASE)
    first = Settlement(part.recipients[0].id, 1, RecipientState.SENT, reply=taken)
    unsure = Settlement(held.recipients[0].id, 1, RecipientState.FAILED, reply=taken, phase="dot", in_doubt=True)
    assert not await finals.write(part, [first], after(2), after(3))
    assert not await finals.write(held, [unsure], after(2), after(3))
    results = await asyncio.gather(
        *(finals.write(claim, _settlements(claim, [taken]), after(2), after(3)) for claim in (lost, held))
    )
    assert results == [False, True]
    assert [await recipient_states(claim.message_id) for claim in (part, lost, held)] == [
        ["claimed"] * 2,
        ["claimed"],
        ["sent"],
    ]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_on_postgres_nobody_waits_for_the_locks_of_another_mail(put_mail: Put, worker: UUID) -> None:
    locked, free, due = [await put_mail() for _ in range(3)]
    claims = await claimed_together(worker, after(1), locked, free)
    assert all(claims)
    finals = FinalResults()
    async with transaction():
        await rows(f"SELECT id FROM message WHERE id IN ($1, $2){row_lock()}", locked, due)

        async def elsewhere() -> list[bool]:
            claimed = await claimed_together(new_key(), after(1), due)
            assert claimed == [None]
            made = [(claim, _settlements(claim, [Reply(250, "")])) for claim in claims if claim is not None]
            return await asyncio.gather(*(finals.write(claim, each, after(2), after(3)) for claim, each in made))

        task = asyncio.get_running_loop().create_task(elsewhere(), context=Context())
        async with asyncio.timeout(20):
            assert await task == [False, True]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_result_that_was_undone_counts_as_unwritten(
    put_mail: Put, worker: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim,) = await claimed_together(worker, after(1), await put_mail())
    assert claim is not None
    write = settle_together._write

    async def undone(finals: Any) -> None:
        await write(finals)
        raise OSError("the disk is full")

    monkeypatch.setattr(settle_together, "_write", undone)
    settlements = _settlements(claim, [Reply(250, "taken")])
    writing = asyncio.create_task(FinalResults().write(claim, settlements, after(2), after(3)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(Unwritten):
        await writing
    assert await recipient_states(claim.message_id) == ["claimed"]


def counted_groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many units of work each commit of SQLite is of, from now on."""
    groups = []
    run_group = group_commit._run_group

    def counted(connection: sqlite3.Connection, group: Sequence[Any]) -> None:
        groups.append(len(group))
        run_group(connection, group)

    monkeypatch.setattr(group_commit, "_run_group", counted)
    return groups


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_claim_that_waits_for_results_shares_their_commit(
    put_mail: Put, worker: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    (held,) = await claimed_together(worker, after(1), await put_mail())
    assert held is not None
    shared, due, groups = JointCommit(), Wanted(await put_mail(), after(1)), counted_groups(monkeypatch)
    claiming = asyncio.create_task(PlainClaims(worker, LEASE, lambda: shared.wait(60)).make(due))
    await asyncio.sleep(0.01)
    assert not claiming.done()
    assert await FinalResults(shared).write(held, _settlements(held, [Reply(250, "")]), after(2), after(3))
    await claiming
    assert due.claim is not None
    assert groups == [2]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_claims_and_results_that_wait_for_accepted_mail_share_its_commit(
    put_mail: Put,
    worker: UUID,
    service: Service,
    principal: Principal,
    engine: EmbeddedEngine,
    wakeup: Wakeup,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (held,) = await claimed_together(worker, after(1), await put_mail())
    assert held is not None
    due, groups = Wanted(await put_mail(), after(1)), counted_groups(monkeypatch)

    async def chance() -> None:
        await wakeup.intake.next_commit(60)

    wakeup.intake.begin()
    claiming = asyncio.create_task(PlainClaims(worker, LEASE, chance).make(due))
    result = FinalResults(chance=chance).write(held, _settlements(held, [Reply(250, "")]), after(2), after(3))
    settling = asyncio.create_task(result)
    await asyncio.sleep(0.01)
    assert not groups
    await Acceptance(engine, wakeup).put(new_message(service, principal))
    await claiming
    assert await settling
    assert due.claim is not None
    assert groups == [3]


async def test_a_claim_waits_for_results_no_longer_than_it_may(put_mail: Put, worker: UUID) -> None:
    due = Wanted(await put_mail(), after(1))
    await PlainClaims(worker, LEASE, lambda: JointCommit().wait(0.01)).make(due)
    assert due.claim is not None


async def test_results_that_wait_go_in_one_transaction(put_mail: Put, worker: UUID) -> None:
    claims = await claimed_together(worker, after(1), await put_mail(), await put_mail())
    both_are_here, transactions = asyncio.Event(), []

    async def chance() -> None:
        await both_are_here.wait()
        transactions.append(chance)

    async def write(held: Claim) -> bool:
        return await finals.write(held, _settlements(held, [Reply(250, "")]), after(2), after(3))

    finals = FinalResults(chance=chance)
    writing = [asyncio.create_task(write(held)) for held in filter(None, claims)]
    await asyncio.sleep(0)
    both_are_here.set()
    assert await asyncio.gather(*writing) == [True, True]
    assert len(transactions) == 1


async def test_no_more_are_claimed_in_one_transaction_than_the_chance_allows(put_mail: Put, worker: UUID) -> None:
    groups: list[int] = []
    wanted = [Wanted(await put_mail(), after(1)) for _ in range(5)]

    async def chance() -> int:
        groups.append(sum(each.claim is None for each in wanted))
        return 2

    claims = PlainClaims(worker, LEASE, chance)
    await asyncio.gather(*[claims.make(each) for each in wanted])
    assert all(each.claim for each in wanted)
    assert groups == [5, 3, 1]

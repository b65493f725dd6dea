"""While mail is being accepted, deliveries give way to it: few are claimed at a time, when some have been accepted."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest

from app.delivery.give_way import GiveWay, GiveWayPolicy
from app.delivery.unsettled import Unsettled
from app.queue.intake import Intake

LONG = 3600.0

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


def gives_way(
    intake: Intake, cpu: Callable[[], float] | None = None, clock: Callable[[], float] = time.monotonic, **policy: Any
) -> GiveWay:
    """Of a process that is always at work, unless `cpu` says something else."""
    cpu = cpu or partial(next, count(0, 10))
    policy = {"claims": 5, "busy": 0.5, "accepted": 2, "pause": LONG, **policy}
    return GiveWay(intake, Unsettled(), GiveWayPolicy(**policy), clock, cpu)


class Timer:
    """What is passed as a clock."""

    at: float = 0

    def __call__(self) -> float:
        return self.at


async def a_turn_of_the_loop() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def accept(intake: Intake, mails: int) -> None:
    """By a transaction that began before."""
    for _ in range(mails):
        intake.begin()
        intake.end()


async def test_all_may_be_claimed_at_once_while_nothing_is_accepted() -> None:
    intake = Intake()
    assert await gives_way(intake).before_claiming() is None


@on_sqlite
async def test_a_worker_waits_until_enough_was_accepted_and_then_claims_few_as_a_transaction_begins(
    database: None,
) -> None:
    intake = Intake()
    worker = gives_way(intake)
    intake.begin()  # of a client that takes its time: some mail is always being put
    claiming = asyncio.create_task(worker.before_claiming())
    await a_turn_of_the_loop()
    accept(intake, 9)
    intake.commit_begins()
    await a_turn_of_the_loop()
    assert not claiming.done(), "nine, and it claims five once ten have been accepted"
    accept(intake, 1)
    await a_turn_of_the_loop()
    assert not claiming.done(), "ten, but no transaction begins with which to go"
    intake.commit_begins()
    assert await claiming == 5
    accept(intake, 1)
    claiming = asyncio.create_task(worker.before_claiming())
    await a_turn_of_the_loop()
    accept(intake, 8)
    intake.commit_begins()
    await a_turn_of_the_loop()
    assert not claiming.done(), "they count from the last claim"
    claiming.cancel()


@on_sqlite
async def test_a_worker_claims_as_soon_as_no_mail_is_being_put_any_more(database: None) -> None:
    intake = Intake()
    worker = gives_way(intake)
    intake.begin()
    claiming = asyncio.create_task(worker.before_claiming())
    await a_turn_of_the_loop()
    assert not claiming.done()
    intake.end()
    assert await claiming == 5, "few: the next ones may come"
    assert await worker.before_claiming() is None, "none came"


@on_sqlite
async def test_a_worker_claims_few_as_a_transaction_begins_while_its_process_has_time(database: None) -> None:
    intake, clock, cpu = Intake(), Timer(), Timer()
    worker = gives_way(intake, cpu, clock, accepted=1000)
    intake.begin()
    claiming = asyncio.create_task(worker.before_claiming())
    clock.at, cpu.at = 10, 6
    await a_turn_of_the_loop()
    intake.commit_begins()
    await a_turn_of_the_loop()
    assert not claiming.done(), "at work for six seconds of ten"
    clock.at = 12
    await a_turn_of_the_loop()
    assert not claiming.done(), "six of twelve, but no transaction begins with which to go"
    intake.commit_begins()
    assert await claiming == 5
    claiming = asyncio.create_task(worker.before_claiming())
    clock.at, cpu.at = 22, 12
    await a_turn_of_the_loop()
    intake.commit_begins()
    await a_turn_of_the_loop()
    assert not claiming.done(), "they count from the last claim"
    claiming.cancel()


@on_sqlite
async def test_a_worker_waits_no_longer_than_it_may(database: None) -> None:
    intake = Intake()
    intake.begin()  # and hangs
    worker = gives_way(intake, pause=0.001)
    accept(intake, 9)
    assert await worker.before_claiming() == 5
    assert await worker.before_claiming() == 5


@on_postgres
async def test_on_postgresql_a_worker_claims_once_enough_was_accepted(database: None) -> None:
    intake = Intake()
    worker = gives_way(intake)
    intake.begin()
    accept(intake, 10)
    assert await worker.before_claiming() == 5
    worker = gives_way(intake, cpu=float)
    assert await worker.before_claiming() == 5, "and with time for it"


@on_postgres
async def test_on_postgresql_a_worker_claims_as_soon_as_it_has_time_though_nothing_begins(database: None) -> None:
    intake, clock, cpu = Intake(), Timer(), Timer()
    worker = gives_way(intake, cpu, clock, accepted=1000)
    intake.begin()  # and hangs
    clock.at, cpu.at = 1, 0.6
    claiming = asyncio.create_task(worker.before_claiming())
    await a_turn_of_the_loop()
    assert not claiming.done(), "at work for 0.6 seconds of one"
    clock.at = 1.2
    assert await claiming == 5


@on_sqlite
async def test_on_sqlite_results_wait_for_a_commit_to_share_only_while_mail_is_being_put(database: None) -> None:
    intake = Intake()
    worker = gives_way(intake, settle_wait=LONG)
    await worker.before_settling()
    intake.begin()
    for is_next in (intake.commit_begins, intake.end):
        settling = asyncio.create_task(worker.before_settling())
        await a_turn_of_the_loop()
        assert not settling.done()
        is_next()
        await settling
    intake.begin()
    await gives_way(intake, settle_wait=0.001).before_settling()


@on_postgres
async def test_on_postgresql_where_none_is_shared_results_do_not_wait(database: None) -> None:
    intake = Intake()
    intake.begin()
    await gives_way(intake, settle_wait=LONG).before_settling()

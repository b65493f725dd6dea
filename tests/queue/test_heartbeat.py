"""Workers give signs of life, and those that stopped giving any are forgotten."""

from uuid import UUID

import pytest

from app.queue.heartbeat import beat, forget_lost_workers, last_beat, leave
from app.queue.models import Worker
from tests.factories import NOW, after

pytestmark = pytest.mark.usefixtures("database")

ONE, TWO = UUID(int=1), UUID(int=2)


async def test_without_a_worker_there_is_no_beat() -> None:
    assert await last_beat() is None


async def test_the_last_beat_is_that_of_any_worker() -> None:
    await beat(ONE, NOW)
    await beat(TWO, after(5))
    assert await last_beat() == after(5)
    await beat(ONE, after(10))
    assert await last_beat() == after(10)

    worker = await Worker.get(id=ONE)
    assert (worker.started_at, worker.beat_at) == (NOW, after(10))


async def test_a_worker_that_leaves_is_forgotten() -> None:
    await beat(ONE, NOW)
    await leave(ONE)
    assert await last_beat() is None


async def test_only_workers_silent_for_ten_times_as_long_are_forgotten() -> None:
    await beat(ONE, NOW)
    await beat(TWO, after(1))

    assert await forget_lost_workers(after(400.5), 40) == 1
    assert [worker.id for worker in await Worker.all()] == [TWO]

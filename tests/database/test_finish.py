"""`finish` runs work to its end under cancellation."""

import asyncio

import pytest

from app.database.connection import finish


async def test_the_result_is_that_of_the_work() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await finish(work()) == 7


async def test_an_exception_is_that_of_the_work() -> None:
    async def work() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await finish(work())


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_still_finishes_and_is_then_cancelled(fails: bool) -> None:
    started, go, steps = asyncio.Event(), asyncio.Event(), list[str]()

    async def work() -> None:
        started.set()
        await go.wait()
        steps.append("finished")
        if fails:
            raise LookupError

    task = asyncio.create_task(finish(work()))
    await started.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert steps == []
    go.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert steps == ["finished"]
    assert isinstance(caught.value.__cause__, LookupError) is fails


async def test_a_timeout_around_finished_work_is_a_timeout() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await finish(work())
    assert done.is_set()

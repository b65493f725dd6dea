"""What several tasks want at the same time is done in one piece."""

import asyncio

from app.queue.together import Take, Together


class Work:
    """Notes what it is given; each piece waits until it may end."""

    def __init__(self) -> None:
        self.pieces: list[list[int]] = []
        self.go = asyncio.Event()
        self.failing: set[int] = set()

    async def do(self, take: Take[int]) -> None:
        self.pieces.append(list(take()))
        await self.go.wait()
        if self.failing & set(self.pieces[-1]):
            raise OSError("broken")


async def test_what_comes_while_a_piece_is_under_way_is_the_next_one() -> None:
    work = Work()
    together = Together(work.do, most=3)
    doing = [asyncio.create_task(together.do(number)) for number in range(2)]
    await asyncio.sleep(0.01)
    doing += [asyncio.create_task(together.do(number)) for number in range(2, 7)]
    await asyncio.sleep(0.01)
    assert work.pieces == [[0, 1]]
    work.go.set()
    await asyncio.gather(*doing)
    assert work.pieces == [[0, 1], [2, 3, 4], [5, 6]]


async def test_a_failure_is_that_of_its_piece_only() -> None:
    work = Work()
    work.failing, together = {1}, Together(work.do, most=2)
    work.go.set()
    results = await asyncio.gather(*(together.do(number) for number in range(4)), return_exceptions=True)
    assert [isinstance(result, OSError) for result in results] == [True, True, False, False]


async def test_who_is_cancelled_has_it_not_begun_or_waits_for_its_end() -> None:
    work = Work()
    together = Together(work.do)
    begun = asyncio.create_task(together.do(1))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(together.do(2))
    await asyncio.sleep(0)
    begun.cancel()
    waiting.cancel()
    await asyncio.wait({begun}, timeout=0.02)
    assert waiting.cancelled()
    assert not begun.done()
    work.go.set()
    await asyncio.wait({begun})
    await together.do(3)
    assert begun.cancelled()
    assert [piece for piece in work.pieces if piece] == [[1], [3]]


async def test_what_is_to_be_done_surely_is_done_though_who_waits_is_cancelled() -> None:
    work = Work()
    together = Together(work.do)
    begun = asyncio.create_task(together.do(1, surely=True))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(together.do(2, surely=True))
    await asyncio.sleep(0)
    begun.cancel()
    waiting.cancel()
    await asyncio.wait({begun, waiting}, timeout=0.02)
    assert not begun.done()
    assert not waiting.done()
    work.go.set()
    await asyncio.wait({begun, waiting})
    assert begun.cancelled()
    assert waiting.cancelled()
    assert work.pieces == [[1], [2]]

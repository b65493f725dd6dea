"""Places are given in the order in which they were asked for, and never too many."""

import asyncio

from app.smtp.places import Places


class Guests:
    """Those who want a place, by number, and those who have one."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._leave: dict[int, asyncio.Event] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.seated: list[int] = []

    async def ask(self, *numbers: int) -> None:
        for number in numbers:
            self._leave[number] = asyncio.Event()
            self._tasks[number] = asyncio.create_task(self._stay(number))
        await self._calm()

    async def leave(self, number: int) -> None:
        self._leave[number].set()
        await self._calm()

    async def give_up(self, number: int) -> None:
        self._tasks[number].cancel()
        await self._calm()

    async def _stay(self, number: int) -> None:
        given = self._places.ask()
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():
                self._places.free()
            raise
        self.seated.append(number)
        await self._leave[number].wait()
        self.seated.remove(number)
        self._places.free()

    async def _calm(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_places_are_given_in_order() -> None:
    guests = Guests(Places(2))
    await guests.ask(1, 2, 3, 4)
    assert guests.seated == [1, 2]
    await guests.leave(1)
    assert guests.seated == [2, 3]
    await guests.ask(5)
    await guests.leave(2)
    assert guests.seated == [3, 4]


async def test_they_are_wanted_until_the_last_guest_has_left() -> None:
    places = Places(1)
    guests = Guests(places)
    assert not places.are_wanted()
    await guests.ask(1)
    assert places.are_wanted()
    await guests.ask(2)
    await guests.give_up(2)
    assert places.are_wanted()
    await guests.leave(1)
    assert not places.are_wanted()


async def test_who_gives_up_waiting_takes_no_place() -> None:
    guests = Guests(Places(1))
    await guests.ask(1, 2, 3)
    await guests.give_up(2)
    await guests.leave(1)
    assert guests.seated == [3]


async def test_who_gives_up_in_the_moment_of_being_given_a_place_gives_it_back() -> None:
    places = Places(1)
    guests = Guests(places)
    await guests.ask(1, 2, 3)
    guests._leave[1].set()
    await asyncio.sleep(0)
    await guests.give_up(2)
    assert guests.seated == [3]


async def test_more_places_are_given_at_once_and_fewer_as_they_get_free() -> None:
    places = Places(1)
    guests = Guests(places)
    await guests.ask(1, 2, 3, 4)
    places.resize(3)
    await guests._calm()
    assert guests.seated == [1, 2, 3]
    places.resize(1)
    await guests.leave(1)
    await guests.leave(2)
    assert guests.seated == [3]
    await guests.leave(3)
    assert guests.seated == [4]

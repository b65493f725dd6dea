"""How replies are read, whatever pieces they come in."""

import asyncio

import pytest
from aiosmtplib import SMTPResponse, SMTPResponseException

from app.smtp.protocol import Protocol


class Counting(Protocol):
    """Counts how often the buffer is parsed from its beginning."""

    parsed = 0

    def _read_response_from_buffer(self) -> SMTPResponse | None:
        self.parsed += 1
        return super()._read_response_from_buffer()


async def test_a_long_reply_in_little_pieces_is_parsed_once() -> None:
    protocol = Counting()
    reading = asyncio.ensure_future(protocol.read_response())
    for piece in (b"250-", b"one\r", b"\n250-two\r\n250", b"-three\r\n", *[b"250-x\r\n"] * 100, b"250 last\r\n"):
        await asyncio.sleep(0)
        protocol.data_received(piece)
    response = await reading
    assert (response.code, response.message.split("\n")[:3]) == (250, ["one", "two", "three"])
    assert response.message.endswith("last")
    assert protocol.parsed == 1


async def test_replies_that_come_at_once_are_read_one_by_one() -> None:
    protocol = Counting()
    protocol.data_received(b"250-one\r\n250 two\r\n354 go on\r\n5")
    assert [(await protocol.read_response()).code for _ in range(2)] == [250, 354]
    protocol.data_received(b"50 no\r\n")
    assert (await protocol.read_response()).code == 550


async def test_an_endless_reply_is_given_up_without_being_parsed() -> None:
    protocol = Counting()
    reading = asyncio.ensure_future(protocol.read_response())
    while not reading.done():
        protocol.data_received(b"250-on and on\r\n")
        await asyncio.sleep(0)
    with pytest.raises(SMTPResponseException, match="too long"):
        await reading
    assert protocol.parsed == 0


async def test_one_clock_counts_for_each_reply_anew() -> None:
    protocol = Protocol()
    for seconds in (0.3, 60, 0.3):
        reading = asyncio.ensure_future(protocol.read_response(seconds))
        await asyncio.sleep(0.2)
        protocol.data_received(b"250 yes\r\n")
        assert (await reading).code == 250
    with pytest.raises(TimeoutError):
        await protocol.read_response(0.05)
    reading = asyncio.ensure_future(protocol.read_response(None))
    await asyncio.sleep(0.2)
    assert not reading.done()
    protocol.data_received(b"250 yes\r\n")
    assert (await reading).code == 250


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([b"250 yes\r\n"], "yes"),
        ([b"250", b" yes\r", b"\n"], "yes"),
        ([b"250 no\r\n"], None),
        ([b"250-yes\r\n", b"250 yes\r\n"], None),
    ],
)
async def test_a_reply_that_is_known_is_taken_when_it_is_whole(pieces: list[bytes], found: str | None) -> None:
    protocol = Protocol()
    arrival = protocol.arrival(10)
    for piece in pieces:
        assert not arrival.done()
        protocol.data_received(piece)
    await arrival
    assert protocol.take_known({b"250 yes\r\n": "yes"}) == found
    assert bool(protocol.arrived()) is (found is None)

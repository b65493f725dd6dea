"""After an outage, or a start, the leases of others are respected until those who live have had time to renew them."""

import pytest

from app.delivery.uptime import Uptime


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def uptime(clock: Clock) -> Uptime:
    """Of a process that started long ago."""
    uptime = Uptime(20, clock)
    clock.advance(1000)
    return uptime


def test_a_process_that_just_started_waits(clock: Clock) -> None:
    uptime = Uptime(20, clock)
    clock.advance(19.5)
    assert not uptime.lasts
    clock.advance(0.5)
    assert uptime.lasts


def test_answers_in_time_change_nothing(uptime: Uptime, clock: Clock) -> None:
    with uptime.asking():
        clock.advance(20)
        assert uptime.lasts
    assert uptime.lasts


def test_after_an_error_it_begins_anew(uptime: Uptime, clock: Clock) -> None:
    with pytest.raises(ConnectionRefusedError), uptime.asking():
        raise ConnectionRefusedError
    assert not uptime.lasts
    clock.advance(20)
    assert uptime.lasts


def test_a_database_that_hangs_is_down_though_it_answers_in_the_end(uptime: Uptime, clock: Clock) -> None:
    with uptime.asking():
        clock.advance(20.5)
        assert not uptime.lasts, "while it hangs"
    assert not uptime.lasts, "just after"
    clock.advance(20)
    assert uptime.lasts

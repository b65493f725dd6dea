"""Turns are evenly spaced, whoever takes them and however late they come."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.turn import next_turn, turns_to_come
from tests.factories import NOW, after

rates = st.floats(0.0001, 10_000)


@given(rates, st.lists(st.floats(0, 1000), min_size=1))
def test_two_turns_are_never_closer_than_the_rate_says(rate: float, seconds: list[float]) -> None:
    last: datetime | None = None
    for second in seconds:
        turn = next_turn(last, rate, after(second))
        assert turn >= after(second)
        assert last is None or turn - last >= timedelta(seconds=1 / rate)
        assert turn == after(second) or (last is not None and turn == last + timedelta(seconds=1 / rate))
        last = turn


@pytest.mark.parametrize(
    ("rate", "turns"), [(0.2, [0, 5, 10]), (1, [0, 1, 2]), (2, [0, 0.5, 1]), (10_000, [0, 0.0001, 0.0002])]
)
def test_who_asks_at_once_gets_the_turns_one_after_the_other(rate: float, turns: list[float]) -> None:
    last: datetime | None = None
    for turn in turns:
        last = next_turn(last, rate, NOW)
        assert last == after(turn)


@pytest.mark.parametrize(("moment", "to_come"), [(0, 3), (0.4, 3), (0.5, 2), (1.2, 1), (1.5, 0), (9, 0)])
def test_turns_to_come_are_those_not_over(moment: float, to_come: int) -> None:
    assert turns_to_come(after(1), 2, after(moment)) == to_come


def test_nothing_is_to_come_where_no_turn_was_given() -> None:
    assert turns_to_come(None, 2, NOW) == 0

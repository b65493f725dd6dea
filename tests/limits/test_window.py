"""A window never holds more than its limit, wherever it begins; and what is said to be free then, is."""

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.window import BUCKETS, LENGTHS, Span, bucket_of, counts_after, free_at, used_at
from tests.factories import NOW, after

spans = st.sampled_from(Span)
limits = st.integers(1, 20)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Span, list[tuple[datetime, int]]]:
    """A span, and requests in the order of time: when, and how many are wanted."""
    span = draw(spans)
    most = 2.5 * LENGTHS[span].total_seconds()
    seconds = draw(st.lists(st.floats(0, most, allow_nan=False) | _edges(span), max_size=60))
    return span, [(after(second), draw(st.integers(1, 8))) for second in sorted(seconds)]


def _edges(span: Span) -> st.SearchStrategy[float]:
    """Seconds at which a bucket starts, and those just before."""
    bucket = BUCKETS[span].total_seconds()
    count = int(2.5 * LENGTHS[span] / BUCKETS[span])
    return st.builds(lambda n, early: n * bucket - early, st.integers(1, count), st.sampled_from([0.0, 0.000001]))


def granted(span: Span, limit: int, asked: list[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    """What is granted of the requests when each gets as much as there is room for."""
    buckets: Counter[datetime] = Counter()
    got = []
    for moment, wanted in asked:
        count = max(0, min(wanted, limit - used_at(buckets, moment, span)))
        buckets[bucket_of(moment, span)] += count
        got.append((moment, count))
    return got


@given(requests(), limits)
def test_no_true_window_ever_holds_more_than_the_limit(
    asked: tuple[Span, list[tuple[datetime, int]]], limit: int
) -> None:
    span, moments = asked
    got = granted(span, limit, moments)
    for end, _ in got:
        within = sum(count for moment, count in got if end - LENGTHS[span] <= moment <= end)
        assert within <= limit


@given(requests(), limits, st.integers(1, 20))
def test_what_is_free_at_a_moment_is_free_then_and_not_before(
    asked: tuple[Span, list[tuple[datetime, int]]], limit: int, most: int
) -> None:
    wanted = min(most, limit)
    span, moments = asked
    buckets: Counter[datetime] = Counter()
    for moment, count in granted(span, limit, moments):
        buckets[bucket_of(moment, span)] += count
    moment = moments[-1][0] if moments else NOW

    free = free_at(buckets, moment, span, limit, wanted)

    assert free >= moment
    assert used_at(buckets, free, span) + wanted <= limit
    assert free == moment or used_at(buckets, free - timedelta(microseconds=1), span) + wanted > limit
    assert free - moment <= LENGTHS[span] + BUCKETS[span]


@given(requests(), limits)
def test_nothing_waits_longer_than_a_window_and_a_bucket(
    asked: tuple[Span, list[tuple[datetime, int]]], limit: int
) -> None:
    """Who is refused would be refused by an exact window that is one bucket longer."""
    span, moments = asked
    got = granted(span, limit, moments)
    for (moment, wanted), (_, count) in zip(moments, got, strict=True):
        if count < wanted:
            begin = moment - LENGTHS[span] - BUCKETS[span]
            assert sum(taken for earlier, taken in got if begin < earlier <= moment) >= limit


@given(requests(), limits, limits)
def test_a_limit_that_was_lowered_holds_from_then_on(
    asked: tuple[Span, list[tuple[datetime, int]]], limit: int, lower: int
) -> None:
    span, moments = asked
    buckets: Counter[datetime] = Counter()
    for moment, count in granted(span, limit, moments):
        buckets[bucket_of(moment, span)] += count
    moment = moments[-1][0] if moments else NOW
    assert used_at(buckets, free_at(buckets, moment, span, lower), span) < lower


@pytest.mark.parametrize("span", Span)
def test_a_bucket_counts_until_all_of_it_is_older_than_the_window(span: Span) -> None:
    buckets = {NOW: 3}
    over = NOW + BUCKETS[span] + LENGTHS[span]
    assert used_at(buckets, over - timedelta(microseconds=1), span) == 3
    assert used_at(buckets, over, span) == 0
    assert counts_after(over, span) == NOW
    assert free_at(buckets, NOW, span, 3) == over
    assert free_at(buckets, NOW, span, 4) == NOW


def test_what_a_clock_ahead_of_ours_counted_counts() -> None:
    assert used_at({after(30): 2}, NOW, Span.MINUTE) == 2
    assert free_at({after(30): 2}, NOW, Span.MINUTE, 2) == after(30 + 1 + 60)


@pytest.mark.parametrize(("span", "start"), [(Span.MINUTE, 17.0), (Span.HOUR, 0.0), (Span.DAY, -45 * 60.0)])
def test_a_bucket_starts_at_a_round_time(span: Span, start: float) -> None:
    moment = NOW + timedelta(hours=0, seconds=17.999999) - (timedelta(minutes=31) if span is Span.DAY else timedelta())
    assert bucket_of(moment, span) == after(start)

"""The schedule of retries: its steps, its jitter, its end."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.backoff import RetryPolicy, next_attempt
from app.settings import Settings
from tests.factories import NOW, after

POLICY = RetryPolicy(schedule=(30, 120, 300), jitter=0.2, give_up_after=3600)
FOUR_DAYS = 4 * 24 * 3600

policies = st.builds(
    RetryPolicy,
    schedule=st.lists(st.floats(1, 10**5), min_size=1, max_size=8).map(tuple),
    jitter=st.floats(0, 0.99),
    give_up_after=st.floats(1, 10**6),
)


@pytest.mark.parametrize(("number", "delay"), [(1, 30), (2, 120), (3, 300), (4, 300), (100, 300)])
def test_the_last_step_of_the_schedule_repeats(number: int, delay: float) -> None:
    assert next_attempt(number, NOW, after(1), POLICY, 0) == after(1 + delay)


@pytest.mark.parametrize(("jitter", "delay"), [(-1, 24), (-0.5, 27), (0, 30), (0.5, 33), (1, 36)])
def test_the_jitter_is_scaled_by_the_share_of_the_policy(jitter: float, delay: float) -> None:
    assert next_attempt(1, NOW, NOW, POLICY, jitter) == after(delay)


def test_an_attempt_may_still_be_due_at_the_very_end_but_not_after_it() -> None:
    assert next_attempt(3, NOW, after(3300), POLICY, 0) == after(3600)
    assert next_attempt(3, NOW, after(3300.001), POLICY, 0) is None


@pytest.mark.parametrize(
    ("number", "asked", "delay"),
    [(1, 600, 600), (2, 60, 60), (1, 1, 30), (2, 0, 30), (3, 60, 300), (9, 600, 600), (1, 10**6, 1000)],
)
def test_what_the_server_asks_replaces_the_delay_within_bounds(number: int, asked: float, delay: float) -> None:
    policy = replace(POLICY, max_asked_delay=1000)
    assert next_attempt(number, NOW, NOW, policy, 0, asked=asked) == after(delay)


@pytest.mark.parametrize("jitter", [-1, 1])
def test_jitter_never_cuts_short_what_the_server_asks(jitter: float) -> None:
    assert next_attempt(1, NOW, NOW, POLICY, jitter, asked=100) == after(120)


def test_nothing_is_tried_from_the_moment_on_at_which_the_mail_expires() -> None:
    assert next_attempt(1, NOW, NOW, POLICY, 0, expires_at=after(30)) is None
    assert next_attempt(1, NOW, NOW, POLICY, 0, expires_at=after(30.001)) == after(30)


@given(policies, st.integers(1, 50), st.floats(0, 10**6), st.floats(-1, 1))
def test_the_next_attempt_is_later_within_the_jitter_and_before_the_end(
    policy: RetryPolicy, number: int, age: float, jitter: float
) -> None:
    due = next_attempt(number, NOW, after(age), policy, jitter)
    delay = policy.schedule[min(number, len(policy.schedule)) - 1]
    if due is None:
        assert age + delay * (1 + policy.jitter) > policy.give_up_after - 0.001
    else:
        assert due <= NOW + timedelta(seconds=policy.give_up_after)
        waited = (due - after(age)).total_seconds()
        assert delay * (1 - policy.jitter) - 0.001 <= waited <= delay * (1 + policy.jitter) + 0.001


@given(st.lists(st.floats(-1, 1), min_size=60, max_size=60))
def test_with_the_default_settings_a_mail_is_tried_for_four_days_then_given_up(jitters: list[float]) -> None:
    settings = Settings()
    policy = RetryPolicy(
        settings.retry_schedule, settings.retry_jitter, settings.give_up_after, settings.max_asked_delay
    )
    moment, delays = NOW, []
    for number, jitter in enumerate(jitters, start=1):
        due = next_attempt(number, NOW, moment, policy, jitter)
        if due is None:
            break
        delays.append((due - moment).total_seconds())
        moment = due

    expected = [30, 120, 300, 900, 1800, 3600, 7200, *[14400] * len(delays)]
    assert all(abs(delay - nominal) <= nominal * 0.2 + 0.001 for delay, nominal in zip(delays, expected, strict=False))
    assert FOUR_DAYS - 14400 * 1.2 <= (moment - NOW).total_seconds() <= FOUR_DAYS

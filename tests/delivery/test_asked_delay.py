"""What servers say when they ask to be left alone for a while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.asked_delay import asked_delay
from app.mail.reply import Reply


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Try again in 5 minutes", 300),
        ("Greylisted, please try again in 300 seconds.", 300),
        ("Greylisting in action, please come back in 00:04:59", 299),
        ("Recipient address rejected: Greylisted for 5 minutes", 300),
        ("too many messages, retry after 2 hours", 7200),
        ("Please retry in 90s", 90),
        ("try later, in about 1 hour", 3600),
        ("Temporarily deferred. Wait at least 10 min please", 600),
        ("TRY AGAIN\nIN 1 MINUTE", 60),
        ("try again in 0 seconds", 0),
    ],
)
def test_a_delay_is_read(text: str, seconds: float) -> None:
    assert asked_delay(Reply(451, text)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mailbox busy",
        "try again later",
        "try again in a while",
        "try again in 5",
        "try again in 5 fortnights",
        "you sent 300 messages in 60 seconds",
        "industry again in 5 minutes",
        "try again in 1234567 seconds",
        "try again in \u0665 minutes",
        "x" * 2000 + " try again in 5 minutes",
    ],
)
def test_nothing_is_made_up(text: str) -> None:
    assert asked_delay(Reply(451, text)) is None


@pytest.mark.parametrize("code", [250, 550])
def test_only_a_reply_that_is_for_now_asks_for_a_delay(code: int) -> None:
    assert asked_delay(Reply(code, "try again in 5 minutes")) is None


words = st.sampled_from(
    ["try", "again", "in", "after", "wait", "5", "99", "minutes", "s", "hours", ":", ",", "00:01:00"]
)


@given(st.one_of(st.text(max_size=300), st.lists(words, max_size=700).map(" ".join)))
def test_whatever_a_server_says_is_a_number_of_seconds_or_nothing(text: str) -> None:
    seconds = asked_delay(Reply(450, text))
    assert seconds is None or 0 <= seconds <= 999_999 * 3600


def test_a_reply_made_to_be_slow_is_read_in_one_pass() -> None:
    assert asked_delay(Reply(450, "try" + " again" * 10**5)) is None

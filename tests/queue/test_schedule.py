"""When a mail may be sent: what is asked for makes sense, and is in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.errors import InvalidInput
from app.queue.schedule import AT_ONCE, Schedule, check_schedule, in_utc
from tests.factories import NOW, after

WEEK = 7 * 24 * 3600.0


@pytest.mark.parametrize(
    ("schedule", "fields"),
    [
        (AT_ONCE, []),
        (Schedule(send_at=after(WEEK)), []),
        (Schedule(send_at=after(WEEK + 1)), ["send_at"]),
        (Schedule(send_at=after(-WEEK)), []),
        (Schedule(expires_at=after(1)), []),
        (Schedule(expires_at=NOW), ["expires_at"]),
        (Schedule(send_at=after(5), expires_at=after(6)), []),
        (Schedule(send_at=after(5), expires_at=after(5)), ["expires_at"]),
        (Schedule(send_at=after(2 * WEEK), expires_at=after(-1)), ["send_at", "expires_at"]),
    ],
)
def test_a_mail_is_sent_within_the_limit_and_before_it_expires(schedule: Schedule, fields: list[str]) -> None:
    assert [problem.field[0] for problem in check_schedule(schedule, NOW, WEEK)] == fields


def test_a_moment_is_taken_to_utc() -> None:
    vienna = timezone(timedelta(hours=1))
    moment = in_utc(datetime(2026, 11, 22, 13, 0, tzinfo=vienna), "sendAt")
    assert moment == NOW
    assert moment.tzinfo is UTC
    assert in_utc(None, "sendAt") is None


@pytest.mark.parametrize(
    "moment",
    [datetime(2026, 11, 22, 13, 0), datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))],  # noqa: DTZ001
)
def test_a_moment_without_an_offset_or_out_of_range_is_refused(moment: datetime) -> None:
    with pytest.raises(InvalidInput) as refused:
        in_utc(moment, "filter", "createdFrom")
    assert refused.value.problems[0].field == ("filter", "createdFrom")

"""Keys and moments as SQLite keeps them."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.database.values import as_key, as_moment, key_text, moment_text


@given(st.uuids())
def test_a_key_is_kept_as_python_shows_it(key: UUID) -> None:
    assert key_text(key) == str(key)
    assert as_key(key_text(key)) == key


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=st.one_of(st.just(UTC), ZONES)))
def test_a_moment_is_kept_as_python_shows_it_in_utc(moment: datetime) -> None:
    assume(1 < moment.year < 9999)  # the first and the last of them have no place in UTC
    assert moment_text(moment) == moment.astimezone(UTC).isoformat(" ")
    assert as_moment(moment_text(moment)) == moment


def test_a_moment_without_its_time_zone_is_none() -> None:
    with pytest.raises(ValueError, match="time zone"):
        moment_text(datetime(2026, 11, 22))  # noqa: DTZ001 - that is the point

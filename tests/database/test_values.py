"""Keys and moments as SQLite keeps them."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.database.values import as_key, as_moment, key_text, key_texts, moment_text, moment_texts


@given(st.uuids())
def test_a_key_is_kept_as_python_shows_it(key: UUID) -> None:
    assert key_text(key) == str(key)
    read = as_key(key_text(key))
    assert (read, hash(read), read.is_safe) == (key, hash(key), key.is_safe)


@pytest.mark.parametrize("text", ["", "0" * 31, "g" * 32, "01a20440-c507-751f-9930-f7fdeeecb56"])
def test_what_is_no_key_is_not_read_as_one(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        as_key(text)


@given(st.lists(st.uuids(), max_size=3))
def test_several_keys_are_kept_as_each_of_them_is(keys: list[UUID]) -> None:
    assert key_texts(keys) == [key_text(key) for key in keys]


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=st.one_of(st.just(UTC), ZONES)))
def test_a_moment_is_kept_as_python_shows_it_in_utc(moment: datetime) -> None:
    assume(1 < moment.year < 9999)  # the first and the last of them have no place in UTC
    assert moment_text(moment) == moment.astimezone(UTC).isoformat(" ")
    assert as_moment(moment_text(moment)) == moment


MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.one_of(st.just(UTC), ZONES))  # noqa: DTZ001


@given(st.lists(MOMENTS, max_size=3))
def test_several_moments_are_kept_as_each_of_them_is(moments: list[datetime]) -> None:
    assert moment_texts(moments) == [moment_text(moment) for moment in moments]


def test_a_moment_without_its_time_zone_is_none() -> None:
    zoneless = datetime(2026, 11, 22)  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="time zone"):
        moment_text(zoneless)
    with pytest.raises(ValueError, match="time zone"):
        moment_texts([datetime(2026, 11, 22, tzinfo=UTC), zoneless])

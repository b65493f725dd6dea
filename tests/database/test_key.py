"""Keys are version 7 and strictly increase."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from app.clock import milliseconds, now
from app.database import key
from app.database.key import new_key, new_key_texts


def test_keys_of_one_process_strictly_increase() -> None:
    keys = [new_key() for _ in range(20_000)]
    assert all(earlier < later for earlier, later in pairwise(keys))
    assert [str(each) for each in keys] == sorted(str(each) for each in keys)


def test_a_key_is_version_7_and_carries_its_time() -> None:
    before, made, after = now(), new_key(), now()
    assert (made.version, made.variant) == (7, RFC_4122)
    assert int(before.timestamp() * 1000) <= made.int >> 80 <= int(after.timestamp() * 1000) + 1


def test_keys_made_together_are_text_of_the_same_kind() -> None:
    keys = [str(new_key()), *new_key_texts(1_000), str(new_key())]
    assert keys == sorted(set(keys))
    assert [str(UUID(text)) for text in keys] == keys
    assert {(UUID(text).version, UUID(text).variant) for text in keys} == {(7, RFC_4122)}
    assert new_key_texts(0) == []


def test_keys_made_together_increase_also_where_their_last_digits_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key, "_random", lambda: ((1 << 48) - 500, 0xFFF))
    keys = new_key_texts(1_000)
    assert keys == sorted(set(keys))
    assert int(UUID(keys[-1])) - int(UUID(keys[0])) == 999


def test_keys_made_in_several_threads_are_all_different() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: [new_key() for _ in range(2_000)], range(8)))
    assert len({each for some in made for each in some}) == 16_000
    assert all(some == sorted(some) for some in made)


def test_keys_increase_also_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = new_key()
    back = milliseconds() - 3_600_000
    monkeypatch.setattr(key, "milliseconds", lambda: back)
    assert new_key() > earlier

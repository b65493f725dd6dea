"""The text of API keys."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.raw_key import digest_of, is_suppliable, new_raw_key, prefix_of


def test_a_generated_key_has_256_random_bits() -> None:
    keys = {new_raw_key() for _ in range(100)}

    assert len(keys) == 100
    assert all(re.fullmatch(r"hg_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_the_prefix_is_eleven_characters_of_a_generated_key_and_four_of_a_chosen_one() -> None:
    key = new_raw_key()

    assert prefix_of(key) == key[:11]
    assert prefix_of("correct horse battery") == "corr"
    assert prefix_of("hg_chosen-by-people") == "hg_c"


@given(st.text(st.characters()))
def test_every_text_has_a_digest(text: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", digest_of(text))


def test_the_digest_is_sha_256_in_hexadecimal() -> None:
    assert digest_of("hg_x") == hashlib.sha256(b"hg_x").hexdigest()


@pytest.mark.parametrize("key", ["x" * 16, "x" * 200, "correct horse battery", '!~{}[]()<>@,;:\\"/?='])
def test_printable_ascii_can_be_chosen(key: str) -> None:
    assert is_suppliable(key)


@pytest.mark.parametrize(
    "key",
    ["", "x" * 15, "x" * 201, " " + "x" * 16, "x" * 16 + " ", "x" * 16 + "\n", "x" * 16 + "é", "x\t" * 8, " " * 16],
)
def test_anything_else_cannot(key: str) -> None:
    assert not is_suppliable(key)

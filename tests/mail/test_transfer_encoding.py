"""Base64 in slices says what base64 in one piece says."""

import base64
import binascii

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.mail import transfer_encoding
from app.mail.transfer_encoding import decode_base64


def in_one_piece(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


@pytest.mark.parametrize("size", [1, 3, 4, 8])
@given(text=st.text(alphabet="QUJD+/=_ \n\t\u2003\u00e9", max_size=24))
@example(text="QQ==QUJD")
@example(text="QUJD====")
@example(text="QQ=  =")
@example(text="=QUJ")
@example(text="QUJDQ")
def test_what_is_no_base64_is_told_wherever_it_is_cut(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transfer_encoding, "_SLICE", size)
        assert decode_base64(text) == in_one_piece(text)


@given(octets=st.binary(max_size=60), every=st.integers(1, 20), size=st.integers(1, 30))
def test_what_is_base64_is_decoded_wherever_it_is_cut_and_wrapped(octets: bytes, every: int, size: int) -> None:
    encoded = base64.b64encode(octets).decode()
    wrapped = "\r\n".join(encoded[start : start + every] for start in range(0, len(encoded), every))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transfer_encoding, "_SLICE", size)
        assert decode_base64(wrapped) == octets


@pytest.mark.parametrize("excess", [-1, 0, 1, 2, 3])
def test_it_holds_at_the_real_size_of_a_slice(excess: int) -> None:
    octets = bytes(range(256)) * 3 * (transfer_encoding._SLICE // 512) + b"x" * (excess + 1)
    assert decode_base64(base64.b64encode(octets).decode()) == octets

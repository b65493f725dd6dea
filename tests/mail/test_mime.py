"""A file's octets in base64, in slices, wherever they come from."""

import re
from base64 import b64encode, encodebytes
from binascii import a2b_qp
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.mail import mime
from app.mail.header import structured_field
from app.mail.mime import EncodedFile, Entity, file_entity, multipart_entity, text_entity
from app.mail.octets import LongText, Octets, in_slices
from app.mail.transfer_encoding import Encoded, decode_base64, read_base64


@dataclass
class Pieces:
    """Octets that come in pieces."""

    octets: bytes
    size: int

    def __len__(self) -> int:
        return len(self.octets)

    def pieces(self) -> Iterator[bytes]:
        return (self.octets[start : start + self.size] for start in range(0, len(self.octets), self.size))


def body_of(octets: bytes | Octets) -> bytes:
    *header, body = file_entity(octets, "image/png", name="a.png", disposition="attachment")
    assert b"".join(octets_of(tuple(header))).endswith(b"\r\n\r\n")
    encoded = b"".join(octets_of((body,)))
    assert len(body) == len(encoded)
    return encoded


def octets_of(entity: Entity) -> Iterator[bytes]:
    for part in entity:
        yield from part.pieces() if isinstance(part, EncodedFile) else [part]


@pytest.mark.parametrize("excess", [-58, -57, -1, 0, 1, 56, 57, 58])
def test_slices_of_base64_are_lines_of_one_piece(excess: int) -> None:
    octets = bytes(range(251)) * (2 * mime._SLICE // 251 + 1)
    octets = octets[: 2 * mime._SLICE + excess]
    expected = encodebytes(octets).replace(b"\n", b"\r\n")
    assert body_of(octets) == expected
    assert body_of(Pieces(octets, 100_003)) == expected
    encoded = read_base64(LongText.of(Pieces(b64encode(octets), 100_003)))
    assert isinstance(encoded, Encoded)
    assert body_of(encoded) == expected
    assert b"".join(encoded.pieces()) == octets


def test_an_empty_file_has_an_empty_body() -> None:
    assert body_of(b"") == b""


@given(text=st.text(alphabet="QUJD+/=_ \n\t\u2003\u00e9", max_size=24), size=st.integers(1, 9))
@example(text="QR==", size=1)
@example(text="QUJDQR==", size=3)
@example(text="QUJDQR== QUJD", size=3)
def test_a_long_text_is_the_octets_of_a_short_one_or_refused_as_it_is(text: str, size: int) -> None:
    short, long = decode_base64(text), read_base64(LongText.of(Pieces(text.encode(), size)))
    if short is None or long is None:
        assert short is long
    else:
        assert isinstance(long, Encoded)
        assert (len(long), b"".join(long.pieces())) == (len(short), short)
        assert body_of(long) == body_of(short)


@given(pieces=st.lists(st.binary(max_size=9), max_size=6), size=st.integers(1, 12))
def test_slices_have_the_size_and_the_octets(pieces: list[bytes], size: int) -> None:
    slices = list(in_slices(pieces, size))
    assert b"".join(slices) == b"".join(pieces)
    assert all(len(part) == size for part in slices[:-1])
    assert all(slices)


def test_a_long_text_is_no_text_that_may_stand_anywhere() -> None:
    text = LongText.of(Pieces("Grüße".encode(), 1))
    assert (str(text), text.whole(), "".join(text.pieces())) == ("\x00", "Grüße", "Grüße")


@pytest.mark.parametrize("root_type", [None, "text/html"])
@pytest.mark.parametrize("subtype", ["alternative", "related", "mixed"])
@pytest.mark.parametrize("mark", ["0", "0123456789abcdef01234567", "x" * 30])
def test_a_multipart_begins_with_the_field_of_its_boundary(mark: str, subtype: str, root_type: str | None) -> None:
    boundary = f"=_{mark}_{subtype}"
    parameters = {"boundary": boundary, **({"type": root_type} if root_type else {})}
    expected = structured_field("Content-Type", f"multipart/{subtype}", parameters)
    entity = b"".join(octets_of(multipart_entity(subtype, [(b"one",), (b"two",)], mark=mark, root_type=root_type)))
    body = f"\r\n--{boundary}\r\none\r\n--{boundary}\r\ntwo\r\n--{boundary}--\r\n"
    assert entity.decode() == expected + body


@given(st.text("ab\t ~=_\r\n\x0b\x7f\u2028ü", max_size=40))
@example("x" * 78 + "\n" + "y" * 78)
@example("x" * 79)
@example("x" * 78 + "\r\n\n" + "=_")
def test_text_is_written_as_it_is_where_its_lines_are_short_and_plain(text: str) -> None:
    head, body = text_entity(text, "plain")
    assert isinstance(head, bytes)
    lines = re.split("\r\n|\r|\n", text)
    expected = "\r\n".join([*lines, ""] if lines[-1] else lines)
    plain = all(len(line) <= 78 and re.fullmatch("[\t -~]*", line) for line in lines) and "=_" not in text
    assert (b"7bit" in head) is plain
    if plain:
        assert body == expected.encode()
    elif b"quoted-printable" in head:
        assert isinstance(body, bytes)
        assert a2b_qp(body).decode() == expected

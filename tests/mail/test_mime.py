"""A file's octets in base64, in slices."""

from base64 import encodebytes

import pytest

from app.mail import mime
from app.mail.mime import file_entity


@pytest.mark.parametrize("excess", [-58, -57, -1, 0, 1, 56, 57, 58])
def test_slices_of_base64_are_lines_of_one_piece(excess: int) -> None:
    octets = bytes(range(251)) * (2 * mime._SLICE // 251 + 1)
    octets = octets[: 2 * mime._SLICE + excess]
    entity = file_entity(octets, "image/png", name="a.png", disposition="attachment")
    assert entity.partition(b"\r\n\r\n")[2] == encodebytes(octets).replace(b"\n", b"\r\n")


def test_an_empty_file_has_an_empty_body() -> None:
    assert file_entity(b"", "image/png", name="a.png", disposition="attachment").endswith(b"\r\n\r\n")

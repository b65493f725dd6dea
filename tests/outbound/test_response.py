"""The name and the type that a file gets from the answer it came in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mail.check import is_media_type
from app.outbound.response import file_name, media_type, read_header

PATH = "/files/from%20path.txt"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'attachment; filename="report.pdf"', "report.pdf"),
        (b"attachment; filename=report.pdf", "report.pdf"),
        (b"attachment; filename*=UTF-8''caf%C3%A9.pdf", "caf\u00e9.pdf"),
        ('attachment; filename="caf\u00e9.pdf"'.encode(), "caf\u00e9.pdf"),
        ('attachment; filename="caf\u00e9.pdf"'.encode("latin-1"), "caf\u00e9.pdf"),
        (b'attachment; filename="a\x07b.pdf"', "ab.pdf"),
        (b'attachment; filename=""', "from path.txt"),
        (b"attachment", "from path.txt"),
        (b"inline; filename*=bogus''%ff", "\u00ff"),
        (b"attachment; filename*=UTF-8''%ff%0d%0aBcc", "\ufffdBcc"),
        (b'attachment; filename="' + b"a" * 300 + b'.pdf"', "a" * 46 + ".pdf"),
    ],
)
def test_the_name_is_what_the_server_says(disposition: bytes, name: str) -> None:
    assert file_name(read_header([(b"Content-Disposition", disposition)]), PATH, 50) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (PATH, "from path.txt"),
        ("/", "attachment"),
        ("", "attachment"),
        ("/a/", "attachment"),
        ("/%00%0a", "attachment"),
    ],
)
def test_else_it_is_the_end_of_the_path(path: str, name: str) -> None:
    assert file_name({}, path, 50) == name


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"text/plain", "text/plain"),
        (b"Text/HTML; Charset=UTF-8; x=y", "text/html; charset=UTF-8"),
        (b'text/csv; charset="iso-8859-1"', "text/csv; charset=iso-8859-1"),
        (b"text/csv; charset=a b", "text/csv"),
        (b'text/csv; charset="a\\"b"', "text/csv"),
        (b"multipart/form-data; boundary=x", None),
        (b"text", None),
        (b"", None),
        (b"text/pl\xe9in", None),
        (b"a/" + b"b" * 300, None),
    ],
)
def test_the_type_is_a_media_type_or_none(field: bytes, expected: str | None) -> None:
    assert media_type(read_header([(b"content-type", field)]), 100) == expected


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_header_breaks_what_is_made_of_it(kind: bytes, disposition: bytes) -> None:
    header = read_header([(b"Content-Type", kind), (b"Content-Disposition", disposition)])
    name, type_ = file_name(header, "/x", 30), media_type(header, 30)
    assert name.isprintable()
    assert 0 < len(name) <= 30
    assert type_ is None or is_media_type(type_)

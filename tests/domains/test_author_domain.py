"""The domain of From is found quickly where it is written as usual, and is the same as by reading every field."""

from hypothesis import given
from hypothesis import strategies as st

from app.domains.signing import author_domain
from app.mail.dkim import header_value

fields = st.sampled_from(
    [
        b"From: ada@example.com",
        b"From: Ada <ada@Sub.Example.com>",
        b"FROM:   ada@other.example  ",
        b"from:ada@plain.example",
        b"From : ada@blank.example",
        b"From\t: ada@tab.example",
        b"From: Ada\r\n <ada@folded.example>",
        b"From: Ada\r\n\t<ada@folded.example>",
        b"From: ada@x.example  (of x)",
        b"From: nobody",
        b"From:",
        b"X-From: eve@example.org",
        b"Subject: From: eve@example.org",
        b"Subject: a\r\n From: eve@example.org",
        b"Subject: a\tb",
    ]
)


@given(
    head=st.lists(fields, max_size=5),
    end=st.sampled_from([b"\r\n\r\n", b"\r\n", b"", b"\r\n\r\nFrom: eve@body.example"]),
)
def test_the_domain_is_that_of_the_last_from_however_it_is_written(head: list[bytes], end: bytes) -> None:
    content = b"\r\n".join(head) + end
    domain = (header_value(content, b"from") or b"").rpartition(b"@")[2].rstrip(b"> ")
    assert author_domain(content) == (domain.decode("ascii", "replace").lower() or None)

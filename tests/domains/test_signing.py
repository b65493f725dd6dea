"""Which keys sign which mail."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.database.connection import execute
from app.database.revision import read_revision
from app.domains.manage import activate_dkim_key, generate_dkim_key, retire_dkim_key
from app.domains.models import DkimAlgorithm, DkimKey
from app.domains.signing import CannotSign, ContentSigner, author_domain
from app.services.secret import Sealer
from app.settings import Settings
from tests.domains.dns_answers import answering
from tests.statements import told

SEALER = Sealer(["k" * 32])
MAIL = "Date: Sun, 22 Nov 2026 17:04:05 +0100\r\nFrom: {}\r\nTo: b@example.net\r\nMessage-ID: <1@x>\r\n\r\nHello\r\n"


async def make(domain: str, selector: str, algorithm: DkimAlgorithm = DkimAlgorithm.ED25519, **more: Any) -> DkimKey:
    key = await generate_dkim_key(domain, selector, algorithm, None, SEALER, **more)
    return await activate_dkim_key(key.id, None, answering({}), force=True)


async def signed(sender: str, signer: ContentSigner | None = None, host: str | None = None) -> str:
    return (await (signer or ContentSigner(SEALER)).sign(MAIL.format(sender).encode(), host)).decode()


def tags(content: str, name: str) -> list[str]:
    return re.findall(rf"[ ;]{name}=([^;]*);", content.partition("\r\nDate:")[0])


@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("me@Example.com", "example.com"),
        ('"<a@b>, x" <"q@r"@example.com>', "example.com"),
        ("=?utf-8?q?J=C3=BC?=\r\n <jü@example.com>", "example.com"),
        ("me@[192.0.2.1]", "[192.0.2.1]"),
    ],
)
def test_the_authors_domain_is_that_of_from(sender: str, domain: str) -> None:
    assert author_domain(MAIL.format(sender).encode()) == domain


async def test_a_domain_signs_with_its_own_keys_or_with_those_for_its_subdomains(database: Settings) -> None:
    await make("example.com", "wide", subdomains=True)
    await make("own.example.com", "own")
    await make("example.org", "narrow")
    await make("example.org", "rsa", DkimAlgorithm.RSA)
    found = {
        "a@example.com": ["wide"],
        "a@b.c.example.com": ["wide"],
        "a@own.example.com": ["own"],
        "a@b.own.example.com": ["wide"],
        "a@example.org": ["rsa", "narrow"],
        "a@b.example.org": [],
        "a@other.example": [],
        "a@[192.0.2.1]": [],
    }
    assert {sender: tags(await signed(sender), "s") for sender in found} == found


async def test_a_mail_is_signed_the_same_way_at_each_try_and_dated_like_itself(database: Settings) -> None:
    await make("example.com", "s1")
    first = await signed("a@example.com")
    assert first == await signed("a@example.com")
    assert tags(first, "t") == ["1795363445"]


@pytest.mark.parametrize(
    ("host", "left_out"),
    [
        ("email-smtp.eu-west-1.amazonaws.com", {"date", "message-id"}),
        ("SMTP.office365.com", {"message-id"}),
        ("smtp-mail.outlook.com", {"message-id"}),
        ("smtp.example.com", set()),
        (None, set()),
    ],
)
async def test_what_a_provider_writes_anew_is_left_out(
    sqlite_database: Settings, host: str | None, left_out: set[str]
) -> None:
    await make("example.com", "s1")
    names = set(re.split(r"[:\s]+", tags(await signed("a@example.com", host=host), "h")[0]))
    assert {"from", "date", "message-id"} - names == left_out


async def test_amazon_takes_one_signature_and_gets_the_one_that_all_verify(sqlite_database: Settings) -> None:
    await make("example.com", "ed")
    await make("example.com", "rsa", DkimAlgorithm.RSA)
    for host, selectors in (("email-smtp.eu-west-1.amazonaws.com", ["rsa"]), ("smtp.example.com", ["rsa", "ed"])):
        assert tags(await signed("a@example.com", host=host), "s") == selectors


async def test_a_key_that_is_retired_or_changed_signs_no_more(database: Settings) -> None:
    key, signer = await make("example.com", "s1"), ContentSigner(SEALER)
    assert tags(await signed("a@example.com", signer), "s") == ["s1"]
    await execute("UPDATE dkim_key SET sealed_private_key = 'v1.torn'")
    with pytest.raises(CannotSign, match=r"^The mail cannot be signed: the DKIM key s1\._domainkey\.example\.com "):
        await signed("a@example.com", signer)
    await retire_dkim_key(key.id, None)
    assert await signed("a@example.com", signer) == MAIL.format("a@example.com")


async def test_where_nobody_has_a_key_nobodys_domain_is_looked_for_until_the_facts_change(
    sqlite_database: Settings,
) -> None:
    signer = ContentSigner(SEALER, 10)
    ours, theirs = [MAIL.format(sender).encode() for sender in ("a@example.com", "a@example.org")]
    revision = await read_revision()
    assert await signer.sign(ours, revision=revision) == ours
    async with told() as statements:
        assert await signer.sign(theirs, revision=revision) == theirs
    assert statements == []
    await make("example.org", "s1")
    assert await signer.sign(theirs) != theirs
    revision = await read_revision()
    assert await signer.sign(ours, revision=revision) == ours
    assert await signer.sign(theirs, revision=revision) != theirs


async def test_content_that_is_read_piece_by_piece_is_signed_as_in_one_piece(sqlite_database: Settings) -> None:
    await make("example.com", "s1")
    await make("example.com", "s2", DkimAlgorithm.RSA)
    whole = (MAIL.format("a@example.com") + "line  of text \r\n" * 99 + "\r\n\r\n").encode()
    signer = ContentSigner(SEALER)
    for size in (1, 100, 5000):
        content = await signer.sign_large(Pieces(whole, size))
        assert (len(content), content.isascii()) == (len(await signer.sign(whole)), True)
        assert b"".join([piece async for piece in content.pieces()]) == await signer.sign(whole)
    unsigned = Pieces(whole.replace(b"example.com", b"example.org"), 100)
    assert await signer.sign_large(unsigned) is unsigned


@dataclass
class Pieces:
    """Content that comes in pieces of this size."""

    octets: bytes
    size: int

    @property
    def head(self) -> bytes:
        return self.octets[: self.octets.find(b"\r\n\r\n") + 4]

    def __len__(self) -> int:
        return len(self.octets)

    def isascii(self) -> bool:
        return self.octets.isascii()

    async def pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.octets), self.size):
            yield self.octets[start : start + self.size]

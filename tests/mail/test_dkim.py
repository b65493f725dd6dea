"""Signatures, held to what dkimpy verifies."""

import random
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from app.mail.address import Mailbox
from app.mail.compose import compose
from app.mail.dkim import OVERSIGNED, BodyDigest, PrivateKey, Signer, sign
from app.mail.draft import Attachment, Draft

SIGNED_AT = 1735689600
DATE = datetime(2026, 11, 22, 17, 4, 5, tzinfo=UTC)
WORDS = (
    "a",
    "Grüße",
    "wide   gaps",
    "tab\tand ",
    "日本語",
    "=?",
    "long" * 40,
    ".",
    "",
    "  ",
    "\n",
    "\n\n \n",
    "é" * 90,
)
UNSUBSCRIBE = (
    ("List-Unsubscribe", f"<https://example.test/{'u' * 120}>, <mailto:out@example.test>"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
)


@cache
def rsa() -> Signer:
    return Signer("example.test", "r1", generate_private_key(65537, 2048))


def ed25519() -> Signer:
    return Signer("example.test", "e1", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def record(key: PrivateKey) -> bytes:
    if isinstance(key, RSAPrivateKey):
        octets, kind = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), b"rsa"
    else:
        octets, kind = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), b"ed25519"
    return b"v=DKIM1; k=" + kind + b"; p=" + b64encode(octets)


def verified(content: bytes, *signers: Signer) -> list[bool]:
    """What dkimpy says of each signature, from the top."""
    published = {f"{signer.selector}._domainkey.{signer.domain}.": record(signer.key) for signer in signers}

    def look_up(name: bytes | str, timeout: int = 5) -> bytes | None:
        return published.get(name if isinstance(name, str) else name.decode())

    return [_verified(content, number, look_up) for number in range(len(signers))]


def _verified(content: bytes, number: int, look_up: object) -> bool:
    try:
        return bool(dkim.DKIM(content).verify(number, dnsfunc=look_up))
    except dkim.DKIMException:
        return False


def mails(seed: int, count: int) -> Iterator[bytes]:
    """Mail of varied shape, as it is composed."""
    draw = random.Random(seed)
    for number in range(count):
        yield compose(
            _draft(draw),
            sender=Mailbox("me@example.test", draw.choice([None, "Me", "Jürgen, der Ältere", "x" * 100])),
            reply_to=draw.choice([None, Mailbox("jürgen@bücher.example", "J")]),
            message_id=f"<{number}@example.test>",
            date=DATE,
        )


def _draft(draw: random.Random) -> Draft:
    def text(size: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(size)))

    attachments = [Attachment("a b.bin", draw.randbytes(draw.randrange(300)), None, draw.choice([None, "cid"]))]
    return Draft(
        to=tuple(Mailbox(f"to{number}@example.test", "T" * number) for number in range(draw.choice([1, 3, 40]))),
        cc=draw.choice([(), (Mailbox("cc@example.test", "C, c"),)]),
        subject=draw.choice([None, "", "Hallo", " ".join(text(20).split()), "word " * 60]),
        text=draw.choice([None, "", text(40), text(40) + "\n" * draw.randrange(5), " \n\t\n"]),
        html=draw.choice([None, f"<p>{text(40)}</p>"]),
        attachments=draw.choice([(), tuple(attachments)]),
        headers=draw.choice([(), UNSUBSCRIBE, (("X-Own", "wide   gaps"),)]),
    )


@pytest.mark.parametrize("seed", range(4))
def test_every_one_of_250_mails_is_verified_by_both_its_keys(seed: int) -> None:
    signers = (rsa(), ed25519())
    results = [verified(sign(content, signers, SIGNED_AT), *signers) for content in mails(seed, 250)]
    assert results == [[True, True]] * 250


@given(st.lists(st.sampled_from([b"", b" ", b"\t", b"a", b"b \t c", b"  d\t", b"e " * 400]), max_size=8))
@settings(max_examples=200, deadline=None)
def test_bodies_of_any_white_space_are_verified(lines: list[bytes]) -> None:
    body = b"".join(line + b"\r\n" for line in lines)
    assert verified(sign(b"From: a@b\r\nSubject:  x \r\n\t y\t\r\n\r\n" + body, [ed25519()], 1), ed25519()) == [True]


@given(
    st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"a", b" b", b" \r\n"]), max_size=12).map(b"".join),
    st.integers(1, 5),
)
def test_a_body_has_one_digest_however_it_is_cut(body: bytes, size: int) -> None:
    whole, cut = BodyDigest(), BodyDigest()
    whole.update(body)
    for start in range(0, len(body), size):
        cut.update(body[start : start + size])
    assert cut.digest() == whole.digest()


@pytest.mark.parametrize("filling", [b"line of text\r\n", b"wide  gap \t\r\n", b"\r\n", b"unbroken"])
def test_bodies_of_many_slices_are_verified(filling: bytes) -> None:
    content = b"From: a@b\r\n\r\nx" + filling * (700_000 // len(filling)) + b"\r\n"
    assert verified(sign(content, [ed25519()], 1), ed25519()) == [True]


@pytest.mark.parametrize("signer", [rsa, ed25519])
def test_a_mail_that_is_altered_by_one_byte_is_not_verified(signer: object) -> None:
    assert callable(signer)
    key = signer()
    (content,) = mails(5, 1)
    signed = sign(content, [key], 1)
    header, body = content.partition(b"\r\n\r\n")[::2]
    offset = len(signed) - len(content)
    covered = [header.index(value) for value in (b"me@example.test", b"@example.test", b"<0@", b"1.0", b"22 Nov")]
    places = [*(offset + place for place in covered), len(signed) - len(body), len(signed) - 3]
    altered = [signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :] for place in places]
    assert verified(signed, key) == [True]
    assert [verified(mail, key) for mail in altered] == [[False]] * len(places)


@pytest.mark.parametrize("name", [name.title() for name in OVERSIGNED])
def test_a_field_that_is_added_breaks_the_signature(name: str) -> None:
    (content,) = mails(6, 1)
    added = f"{name}: other@example.test\r\n".encode()
    assert verified(added + sign(content, [ed25519()], 1), ed25519()) == [False]
    in_between = sign(content, [ed25519()], 1).replace(b"\r\nMIME-Version", b"\r\n" + added + b"MIME-Version")
    assert verified(in_between, ed25519()) == [False]


def test_the_signature_names_what_it_covers() -> None:
    draft = Draft(to=(Mailbox("t@example.test"),), text="t", headers=(*UNSUBSCRIBE, ("X-Own", "1")))
    content = compose(draft, sender=Mailbox("me@example.test"), reply_to=None, message_id="<1@x>", date=DATE)
    signed = sign(content, [ed25519()], SIGNED_AT)
    tags = dict(
        tag.strip().split("=", 1)
        for tag in "".join(message_from_bytes(signed)["DKIM-Signature"].splitlines()).split(";")
    )
    assert {name: tags[name] for name in ("v", "a", "c", "d", "s", "t")} == {
        "v": "1",
        "a": "ed25519-sha256",
        "c": "relaxed/relaxed",
        "d": "example.test",
        "s": "e1",
        "t": str(SIGNED_AT),
    }
    assert tags["h"].replace(" ", "") == (
        "from:from:to:to:cc:subject:reply-to:date:date:message-id:mime-version:content-type:content-transfer-encoding"
        ":list-unsubscribe:list-unsubscribe-post"
    )
    assert set(tags) == {"v", "a", "c", "d", "s", "t", "h", "bh", "b"}
    assert max(map(len, signed[: -len(content)].splitlines())) <= 78


def test_what_somebody_writes_anew_is_left_out() -> None:
    (content,) = mails(7, 1)
    signed = sign(content, [ed25519()], 1, unsigned={"date", "message-id"})
    rewritten = signed.replace(b"\r\nDate: Sun, 22", b"\r\nDate: Mon, 23").replace(b"<0@example.test>", b"<1@ses.test>")
    assert rewritten != signed
    assert verified(rewritten, ed25519()) == [True]


def test_the_same_mail_is_signed_the_same_way() -> None:
    (content,) = mails(8, 1)
    assert sign(content, [rsa(), ed25519()], 1) == sign(content, [rsa(), ed25519()], 1)

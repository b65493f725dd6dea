"""Private keys as they are given, and the record that is published for them."""

from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)

from app.domains.key_pair import dkim_record, generate_key, private_text, public_text, read_key
from app.domains.models import DkimAlgorithm
from app.errors import InvalidInput

CANARY = "canary-of-a-private-key"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_key_is_read_again_as_it_was_made() -> None:
    for algorithm in DkimAlgorithm:
        key = generate_key(algorithm)
        assert public_text(read_key(f"\r\n{private_text(key)}  ")) == public_text(key)


def test_the_traditional_form_of_openssl_is_read() -> None:
    key = rsa.generate_private_key(65537, 2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    assert text.startswith("-----BEGIN RSA PRIVATE KEY")
    assert public_text(read_key(text)) == public_text(key)


def test_what_cannot_sign_is_refused_in_one_sentence_that_does_not_show_it() -> None:
    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(CANARY.encode())
    )
    refused = {
        "": "no private key",
        "ключ": "no private key",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----": "no private key",
        pem(generate_ed25519())[:-40]: "no private key",
        locked.decode(): "encrypted",
        pem(ec.generate_private_key(ec.SECP256R1())): "neither RSA nor Ed25519",
        pem(rsa.generate_private_key(65537, 1024)): "has 1024 bits. An RSA key has 2048 to 4096",
    }
    for text, sentence in refused.items():
        with pytest.raises(InvalidInput, match=sentence) as error:
            read_key(text)
        assert [problem.field for problem in error.value.problems] == [("privateKey",)]
        assert not [line for line in text.splitlines() if line and line[0] != "-" and line in str(error.value)]


def generate_ed25519() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def test_the_record_holds_the_key_in_strings_that_a_zone_file_takes() -> None:
    key = generate_key(DkimAlgorithm.RSA)
    record = dkim_record("example.com", "s1", DkimAlgorithm.RSA, public_text(key))
    assert (record.name, record.type) == ("s1._domainkey.example.com", "TXT")
    assert record.value.startswith("v=DKIM1; k=rsa; p=")
    assert "".join(record.strings) == record.value
    assert [len(part) <= 255 for part in record.strings] == [True, True]
    public = load_der_public_key(b64decode(record.value.partition("p=")[2]))
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.public_numbers() == read_public(key)
    assert len(b64decode(public_text(generate_ed25519()))) == 32


def read_public(key: object) -> rsa.RSAPublicNumbers:
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.public_key().public_numbers()

"""PEM text of trusted authorities: certificates, and nothing else."""

import ssl

import pytest
import trustme

from app.services.authority import certificates_of, check_authorities

ONE, OTHER = (trustme.CA().cert_pem.bytes().decode() for _ in range(2))
KEY = trustme.CA().issue_cert("x.example").private_key_pem.bytes().decode()
BODY = "".join(ONE.splitlines()[1:-1])


@pytest.mark.parametrize(
    "pem",
    [
        ONE,
        ONE + OTHER,
        ONE.replace("\n", "\r\n"),
        ONE.strip(),
        f"# Zoë's authority\n{ONE}\nsubject=CN = x\n{OTHER}",
    ],
)
def test_certificates_are_taken_and_what_is_between_them_is_dropped(pem: str) -> None:
    assert check_authorities(pem) is None
    kept = certificates_of(pem)
    assert kept == "".join(one for one in (ONE, OTHER) if one.splitlines()[1] in pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=kept)
    assert len(context.get_ca_certs()) == pem.count("BEGIN CERTIFICATE")


@pytest.mark.parametrize(
    ("pem", "problem"),
    [
        (KEY, "private key"),
        (ONE + KEY, "private key"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "private key"),
        ("", "no certificate"),
        ("   ", "no certificate"),
        (BODY, "no certificate"),
        ("/etc/ssl/ca.pem", "no certificate"),
        (ONE[:-20], "no certificate"),
        (ONE + OTHER[:-20], "not a whole certificate"),
        (ONE.replace("CERTIFICATE", "PUBLIC KEY"), "not a whole certificate"),
        (ONE + OTHER.replace("CERTIFICATE", "X509 CRL"), "not a whole certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\n\ud800\x00é\n-----END CERTIFICATE-----\n", "cannot be read"),
        (ONE.replace(ONE[100:140], "!" * 40), "cannot be read"),
    ],
)
def test_anything_else_is_refused_with_the_reason(pem: str, problem: str) -> None:
    assert problem in str(check_authorities(pem))

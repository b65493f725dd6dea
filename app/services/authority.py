"""The certificate authorities of a service's own, as PEM text (RFC 7468). Pure."""

import re

from cryptography import x509

_BLOCK = re.compile(r"-----BEGIN ([^\r\n-]+)-----[^-]*-----END \1-----")
_CERTIFICATE = "CERTIFICATE"


def check_authorities(pem: str) -> str | None:
    """What is wrong with the text, if anything: it must hold one certificate or more, and nothing else in PEM."""
    if "PRIVATE KEY" in pem:
        return "It holds a private key, which no other machine should have. Only certificates are wanted."
    blocks = list(_BLOCK.finditer(pem))
    if not blocks:
        return "It holds no certificate. Give PEM text, from -----BEGIN CERTIFICATE----- on."
    if any(block[1] != _CERTIFICATE for block in blocks) or pem.count("-----BEGIN") != len(blocks):
        return "It holds something that is not a whole certificate in PEM."
    try:
        for block in blocks:
            x509.load_pem_x509_certificate(block[0].encode("ascii"))
    except (ValueError, UnicodeError):
        return "It holds a certificate that cannot be read."
    return None


def certificates_of(pem: str) -> str:
    """The certificates alone, without what people write between them. Only for text without problems."""
    return "".join(f"{block[0]}\n" for block in _BLOCK.finditer(pem.replace("\r\n", "\n")))
